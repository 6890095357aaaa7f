"""Installations full of sealed credentials; run as a program, it opens or replaces them."""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tieline.contract import Secret
from tieline.errors import VaultError
from tieline.services.installation import Installation
from tieline.settings import load_settings
from tieline.store import connections as store
from tieline.store import schema
from tieline.store.connections import ConnectionRow
from tieline.vault import Context

FIELDS = ("access_token", "refresh_token")
START = datetime(2026, 11, 1, tzinfo=UTC)
NO_REDIS = "redis://127.0.0.1:1"


def settings_of(home: Path, database_url: str, **settings: str) -> dict[str, str]:
    return {
        "TIELINE_HOME": str(home),
        "TIELINE_DATABASE_URL": database_url,
        "TIELINE_REDIS_URL": NO_REDIS,
        **{f"TIELINE_{name.upper()}": text for name, text in settings.items()},
    }


def installed(home: Path, database_url: str, **settings: str) -> Installation:
    """Make an installation on an empty database."""
    made = Installation(load_settings(settings_of(home, database_url, **settings), home))
    made.make_key()
    schema.upgrade(made.raw_database)
    return made


def again(made: Installation, **settings: str) -> Installation:
    """The installation as another process has it, with other settings if need be."""
    given = settings_of(made.settings.home, made.database_url.reveal(), **settings)
    return Installation(load_settings(given, made.settings.home))


def row_of(number: int) -> ConnectionRow:
    return ConnectionRow(
        id=f"con_{number:05}",
        name=f"shop-{number}",
        provider="shelf",
        environment="live",
        base_url="http://127.0.0.1:1",
        auth_kind="oauth2",
        account_id=None,
        account_name="",
        settings={},
        state="ok",
        created_at=START,
        updated_at=START,
    )


def fill(made: Installation, count: int) -> None:
    """Add connections, each with a credential of two fields."""
    rows = [row_of(number) for number in range(count)]
    fresh = [_sealed(made, row.id) for row in rows]
    with made.database.write() as transaction:
        for row, (sealed, key_id) in zip(rows, fresh, strict=True):
            store.add_connection(transaction, row)
            store.replace_credential(transaction, row.id, sealed, key_id=key_id, now=START)


def replace(made: Installation, connection_id: str) -> None:
    """Store a new credential, as a refresh does: the keys first, the secret then."""
    sealed, key_id = _sealed(made, connection_id)

    def work(transaction):
        store.replace_credential(
            transaction, connection_id, sealed, key_id=key_id, now=made.clock.now()
        )

    made.database.transact(work)


def _sealed(made: Installation, connection_id: str) -> tuple[dict[str, str], str]:
    contexts = [Context(connection_id=connection_id, field=name) for name in FIELDS]
    sealer = made.vault.prepare(*contexts)
    text = f"{connection_id} {random.getrandbits(64):016x}"
    sealed = {
        context.field: sealer.seal(Secret(f"{text} {context.field}"), context)
        for context in contexts
    }
    return sealed, sealer.key_id


def open_all(made: Installation) -> int:
    """Open each credential as a worker does; return how many fields do not open, whole."""
    failed = 0
    with made.database.read() as transaction:
        ids = [row.id for row in store.list_connections(transaction)]
    for connection_id in ids:
        with made.database.read() as transaction:
            sealed, _ = store.read_sealed(transaction, connection_id)
        failed += len(FIELDS) - len(sealed)
        said = set()
        for name, text in sealed.items():
            context = Context(connection_id=connection_id, field=name)
            try:
                owner, number, field = made.vault.open(text, context).reveal().split()
            except VaultError:
                failed += 1
                continue
            failed += (owner, field) != (connection_id, name)
            said.add(number)
        failed += len(said) > 1  # two halves of two credentials
    return failed


def main(home: str, what: str, count: str) -> None:
    """Open all, or replace one after the other, until the file ``stop`` is there."""
    made = Installation(load_settings(folder=Path(home)))
    rounds = failed = 0
    while not (Path(home) / "stop").exists():
        if what == "read":
            failed += open_all(made)
        else:
            replace(made, row_of(rounds % int(count)).id)
            time.sleep(0.001)
        rounds += 1
        if rounds == 1:
            print("ready", flush=True)
    print(rounds, failed, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
