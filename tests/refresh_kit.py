"""Many connections with grants that are due, and processes that renew them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import httpx

from tieline.contract import NeedsReauthError, RetryLaterError, Secret
from tieline.failpoints import set_failpoints
from tieline.services.installation import Installation
from tieline.settings import load_settings
from tieline.store import connections, grants
from tieline.store.connections import ConnectionRow
from tieline.transport import trusted_certificates
from tieline.vault import Context

PROVIDER = "quickbooks"
CLIENT = {
    "TIELINE_QUICKBOOKS_CLIENT_ID": "ABtielinesandboxclientid0000000000000000000000001a",
    "TIELINE_QUICKBOOKS_CLIENT_SECRET": "tielinesandboxclientsecret00000000000001",
}


@dataclass(frozen=True)
class Oracle:
    """What the provider knows; it is asked over its control surface."""

    url: str

    def order(self, **given: object):
        answer = httpx.post(f"{self.url}/_sandbox/oauth", json=given, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def facts(self):
        answer = httpx.get(f"{self.url}/_sandbox/oauth", timeout=60, trust_env=False)
        return answer.json()

    def realms(self) -> list[str]:
        answer = httpx.get(f"{self.url}/_sandbox/", timeout=60, trust_env=False)
        return [account["id"] for account in answer.json()["accounts"]]

    def fault(self, *faults: dict) -> None:
        httpx.post(f"{self.url}/_sandbox/faults", json=faults, timeout=60, trust_env=False)


def add_connections(installation: Installation, oracle: Oracle, count: int) -> list[str]:
    """Store connections of which each has a live grant, its access token over; return their ids."""
    made = []
    now = installation.clock.now()
    with httpx.Client(trust_env=False, timeout=60) as client:
        for number, realm in enumerate(oracle.realms()[:count]):
            given = {"grant": {"account": number}}
            tokens = client.post(f"{oracle.url}/_sandbox/oauth", json=given).json()
            fields = {
                "access_token": tokens["access_token"],
                "refresh_token": tokens["refresh_token"],
                "realm_id": realm,
            }
            made.append((_row(oracle.url, number, realm, now), fields))
    sealed = [(row, _sealed(installation, row.id, fields)) for row, fields in made]
    with installation.database.write() as transaction:
        for row, (texts, key_id) in sealed:
            connections.add_connection(transaction, row)
            generation = connections.replace_credential(
                transaction, row.id, texts, key_id=key_id, now=now
            )
            grants.put_grant(
                transaction,
                row.id,
                generation=generation,
                scopes=None,
                access_expires_at=now - timedelta(seconds=1),
                refresh_expires_at=now + timedelta(days=100),
                now=now - timedelta(hours=1),
            )
    return [row.id for row, _ in made]


def _row(url: str, number: int, realm: str, now) -> ConnectionRow:
    return ConnectionRow(
        id=f"con_race{number:06d}",
        name=f"books{number}",
        provider=PROVIDER,
        environment="production",
        base_url=url,
        auth_kind="oauth2",
        account_id=realm,
        account_name="",
        settings={},
        state="ok",
        created_at=now,
        updated_at=now,
    )


def _sealed(installation: Installation, connection_id: str, fields) -> tuple[dict[str, str], str]:
    contexts = {name: Context(connection_id=connection_id, field=name) for name in fields}
    sealer = installation.vault.prepare(*contexts.values())
    texts = {name: sealer.seal(Secret(text), contexts[name]) for name, text in fields.items()}
    return texts, sealer.key_id


def due_again(installation: Installation) -> None:
    """Let every access token be over, and every lease and pause too."""
    past = installation.clock.now() - timedelta(seconds=1)
    from tieline.store.tables import grants as table

    with installation.database.write() as transaction:
        transaction.execute(table.update().values(access_expires_at=past))


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


# --- processes ------------------------------------------------------------------------------------


class Racer:
    """A process that renews what it is told to, one at a time."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=environ | {"PYTHONPATH": str(Path(__file__).parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._process.stdout.readline() == "ready\n"

    def send(self, *words: str) -> None:
        self._process.stdin.write(" ".join(words) + "\n")

    def answer(self) -> list[str]:
        line = self._process.stdout.readline()
        assert line, "a racer died"
        return line.split()

    def ask(self, *words: str) -> list[str]:
        self.send(*words)
        return self.answer()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def race(racers: Sequence[Racer], connection_id: str) -> list[list[str]]:
    """Let all of them hold one connection at once."""
    for racer in racers:
        racer.send("hold", connection_id)
    return [racer.answer() for racer in racers]


def _hold(installation: Installation, connection_id: str) -> str:
    try:
        held = installation.engine.opener.refresher.hold(connection_id)
    except NeedsReauthError:
        return "needs_reauth"
    except RetryLaterError as error:
        return f"later {error.retry_after or 0:.1f}"
    return f"held {held.generation} {digest(held.fields['access_token'])}"


def _die(installation: Installation, point: str, connection_id: str) -> str:
    """Hold in a child that a failpoint kills; say how the child ended."""
    child = os.fork()
    if child == 0:
        set_failpoints(f"{point}=kill")
        _hold(installation, connection_id)
        os._exit(0)
    return f"died {os.waitpid(child, 0)[1]}"


def main(lines: Iterable[str]) -> None:
    installation = Installation(load_settings())
    # Children of a fork find all of it loaded.
    _ = installation.engine, installation.database, installation.registry.get(PROVIDER)
    trusted_certificates()
    print("ready", flush=True)
    for line in lines:
        word, *rest = line.split()
        act = {"hold": _hold, "die": _die}[word]
        print(act(installation, *rest), flush=True)


if __name__ == "__main__":
    main(sys.stdin)
