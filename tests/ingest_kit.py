"""Endpoints of every scheme on one installation, and deliveries as providers sign them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from sqlalchemy import func, select

from kit import entry_point
from tieline.clock import Clock, ManualClock
from tieline.contract import Secret
from tieline.inbox import Arrival
from tieline.registry import Registry
from tieline.services import webhooks
from tieline.services.installation import Installation
from tieline.settings import load_settings
from tieline.store import connections, schema
from tieline.store.connections import ConnectionRow
from tieline.store.ids import new_id
from tieline.store.tables import webhook_events

START = datetime(2026, 11, 1, tzinfo=UTC)
BASE = "https://hooks.example.com"
REALM = "9341450000000001"
FORM = "application/x-www-form-urlencoded"
SECRETS = {
    "stripe": "whsec_TieExampleSecret0123456789abcdef",
    "square": "TieSignatureKey0123456",
    "quickbooks": "5c2b1a3e-verifier-token-example",
    "mailchimp": "mcwhsec_example_0123456789abcdef",
    "hooked": "whsec_" + base64.b64encode(bytes(range(32))).decode(),
}


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A delivery that is right in every way."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def arrival(self) -> Arrival:
        _, _, provider, endpoint, *rest = self.path.split("/")
        lowered = {name.lower(): text for name, text in self.headers.items()}
        return Arrival(
            provider=provider,
            endpoint_id=endpoint,
            path_secret=rest[0] if rest else None,
            headers=lowered,
            body=self.body,
        )

    def changed(self, *, body: bytes | None = None, path: str | None = None, **headers) -> Signed:
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        merged = {
            name: text for name, text in {**self.headers, **given}.items() if text is not None
        }
        return replace(
            self,
            body=self.body if body is None else body,
            path=self.path if path is None else path,
            headers=merged,
        )


@dataclass
class Sender:
    """A provider that knows one endpoint."""

    scheme: str
    endpoint_id: str
    url: str
    secret: str
    clock: Clock
    account: str | None = None
    header: str = ""
    sent: int = 0

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    def signed(self, event_id: str | None = None, *, secret: str | None = None, **told) -> Signed:
        """Make the delivery of an event; a new event if no id is given."""
        self.sent += 1
        event_id = event_id or f"{self.endpoint_id}-{self.sent}"
        make = {
            "stripe": self._stripe,
            "square": self._square,
            "quickbooks": self._quickbooks,
            "mailchimp": self._mailchimp,
            "mailchimp-unsigned": self._mailchimp,
            "hooked": self._hooked,
        }[self.scheme]
        body, content_type = make(event_id, told)
        headers = {"content-type": content_type} | self.sign(body, event_id, secret=secret)
        return Signed(path=self.path, headers=headers, body=body)

    def sign(
        self, body: bytes, event_id: str = "", *, secret: str | None = None, at: int | None = None
    ) -> dict[str, str]:
        """Sign as the provider does; written apart from the verifier."""
        key = self.secret if secret is None else secret
        at = int(self.clock.now().timestamp()) if at is None else at
        if self.scheme in {"stripe", "mailchimp"}:
            name = "stripe-signature" if self.scheme == "stripe" else "x-mailchimp-signature"
            found = hmac.new(key.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
            return {name: f"t={at},v1={found}"}
        if self.scheme == "square":
            found = hmac.new(key.encode(), self.url.encode() + body, hashlib.sha256).digest()
            return {"x-square-hmacsha256-signature": base64.b64encode(found).decode()}
        if self.scheme == "quickbooks":
            found = hmac.new(key.encode(), body, hashlib.sha256).digest()
            return {"intuit-signature": base64.b64encode(found).decode()}
        if self.scheme == "hooked":
            text = f"{event_id}.{at}.".encode() + body
            raw = base64.b64decode(key.removeprefix("whsec_"))
            found = base64.b64encode(hmac.new(raw, text, hashlib.sha256).digest()).decode()
            return {
                "webhook-id": event_id,
                "webhook-timestamp": str(at),
                "webhook-signature": f"v1,{found}",
            }
        return {}

    def _stripe(self, event_id: str, told: dict) -> tuple[bytes, str]:
        customer = {"id": "cus_1", "object": "customer", "name": "Ada"}
        event = {
            "id": event_id,
            "object": "event",
            "type": "customer.updated",
            "api_version": "2026-10-28.endive",
            "created": int(self.clock.now().timestamp()),
            "data": {"object": customer | told.pop("record", {})},
        }
        return json.dumps(event | told).encode(), "application/json; charset=utf-8"

    def _square(self, event_id: str, told: dict) -> tuple[bytes, str]:
        event = {
            "merchant_id": self.account,
            "type": "customer.updated",
            "event_id": event_id,
            "created_at": "2026-11-01T00:00:00Z",
            "data": {"type": "customer", "id": "CUS1", "object": {"customer": {"id": "CUS1"}}},
        }
        return json.dumps(event | told).encode(), "application/json"

    def _quickbooks(self, event_id: str, told: dict) -> tuple[bytes, str]:
        realms = told.pop("realms", [self.account])
        events = [
            {
                "specversion": "1.0",
                "id": f"{event_id}-{number}",
                "source": "intuit.dGVzdA==",
                "type": "qbo.customer.updated.v1",
                "time": "2026-11-01T00:00:00Z",
                "intuitentityid": "1",
                "intuitaccountid": realm,
                "data": {},
            }
            | told
            for number, realm in enumerate(realms)
        ]
        return json.dumps(events).encode(), "application/json"

    def _mailchimp(self, event_id: str, told: dict) -> tuple[bytes, str]:
        fields = {
            "type": "profile",
            "fired_at": "2026-11-01 00:00:00",
            "data[list_id]": "a6b5da1054",
            "data[email]": "ada@example.com",
            "data[merges][NOTE]": event_id,
        }
        return urlencode(fields | told).encode(), FORM

    def _hooked(self, event_id: str, told: dict) -> tuple[bytes, str]:
        event = {"id": event_id, "type": "thing.changed", "key": "t1"}
        return json.dumps(event | told).encode(), "application/json"


@dataclass
class Harbour:
    """One installation with an endpoint of each scheme."""

    installation: Installation
    clock: Clock
    senders: dict[str, Sender] = field(default_factory=dict)
    connections: dict[str, str] = field(default_factory=dict)

    @property
    def inbox(self):
        return self.installation.inbox

    def accept(self, signed: Signed) -> int:
        return self.inbox.accept(signed.arrival)

    def events(self) -> list[dict]:
        statement = select(webhook_events).order_by(webhook_events.c.seq)
        with self.installation.database.read() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def count(self) -> int:
        with self.installation.database.read() as connection:
            return connection.execute(select(func.count()).select_from(webhook_events)).scalar()

    def counts(self) -> dict:
        self.inbox.after.do()
        return webhooks.count_deliveries(self.installation) or {}

    def add_connection(self, provider: str, name: str, account: str | None) -> str:
        plugin = self.installation.registry.get(provider)
        environment, base_url = next(iter(plugin.provider.environments.items()))
        row = ConnectionRow(
            id=new_id("con"),
            name=name,
            provider=provider,
            environment=environment,
            base_url=base_url,
            auth_kind="oauth2",
            account_id=account,
            account_name="",
            settings={},
            state="ok",
            created_at=self.clock.now(),
            updated_at=self.clock.now(),
        )
        with self.installation.database.write() as transaction:
            assert connections.add_connection(transaction, row)
        self.connections[name] = row.id
        return row.id

    def add(self, scheme: str, target: str, *, secret: str | None = None, account=None) -> Sender:
        made = webhooks.add_endpoint(
            self.installation,
            target,
            base=BASE,
            secret=None if secret is None else Secret(secret),
            actor="test",
        )
        return Sender(
            scheme=scheme,
            endpoint_id=made.listed.endpoint.id,
            url=made.url.reveal(),
            secret=secret or "",
            clock=self.clock,
            account=account,
        )

    def close(self) -> None:
        self.installation.close()


def make_harbour(
    database_url: str,
    home: Path,
    *,
    redis_url: str = "redis://127.0.0.1:1",
    clock: Clock | None = None,
    **settings: str,
) -> Harbour:
    """Make an installation with one connection per provider, and an endpoint per scheme."""
    environ = {
        "TIELINE_HOME": str(home),
        "TIELINE_DATABASE_URL": database_url,
        "TIELINE_REDIS_URL": redis_url,
        **{f"TIELINE_{name.upper()}": text for name, text in settings.items()},
    }
    clock = clock or ManualClock(START)
    providers = ("stripe", "square", "quickbooks", "mailchimp")
    given = [entry_point(name, f"tieline_{name}") for name in providers]
    registry = Registry(given=[*given, entry_point("hooked", "hooked_plugin")])
    installation = Installation(load_settings(environ, home), clock=clock, registry=registry)
    installation.make_key()
    schema.upgrade(installation.raw_database)
    harbour = Harbour(installation, clock)
    harbour.add_connection("stripe", "shop", "acct_1")
    harbour.add_connection("square", "till", "MLTIELINE0001")
    harbour.add_connection("quickbooks", "books", REALM)
    harbour.add_connection("mailchimp", "letters", "mc1")
    harbour.add_connection("hooked", "things", "things-1")
    harbour.senders = {
        "stripe": harbour.add("stripe", "shop", secret=SECRETS["stripe"]),
        "square": harbour.add(
            "square", "square", secret=SECRETS["square"], account="MLTIELINE0001"
        ),
        "quickbooks": harbour.add(
            "quickbooks", "quickbooks", secret=SECRETS["quickbooks"], account=REALM
        ),
        "mailchimp": harbour.add("mailchimp", "letters", secret=SECRETS["mailchimp"]),
        "mailchimp-unsigned": harbour.add("mailchimp-unsigned", "letters"),
        "hooked": harbour.add("hooked", "things", secret=SECRETS["hooked"]),
    }
    return harbour


def harbour_of(installation: Installation) -> Harbour:
    """Put a connection and an endpoint of Stripe's and of Mailchimp's on an installation."""
    harbour = Harbour(installation, installation.clock)
    harbour.add_connection("stripe", "shop", "acct_1")
    harbour.add_connection("mailchimp", "letters", "mc1")
    harbour.senders = {
        "stripe": harbour.add("stripe", "shop", secret=SECRETS["stripe"]),
        "mailchimp-unsigned": harbour.add("mailchimp-unsigned", "letters"),
    }
    return harbour


Forge = Callable[[Sender, Signed, int], Signed]


def _signature_of(signed: Signed) -> tuple[str, str]:
    name = next(name for name in signed.headers if "signature" in name)
    return name, signed.headers[name]


def _resigned(sender: Sender, signed: Signed, **how) -> Signed:
    event_id = signed.headers.get("webhook-id", "")
    return replace(signed, headers={**signed.headers, **sender.sign(signed.body, event_id, **how)})


def _odd_text(number: int) -> str:
    seed = hashlib.sha256(str(number).encode()).digest()
    return seed[: 1 + number % 31].decode("latin-1")


def _with_signature(signed: Signed, make: Callable[[str], str | None]) -> Signed:
    name, text = _signature_of(signed)
    return signed.changed(**{name: make(text)})


def _late(sender: Sender, signed: Signed, number: int) -> Signed:
    """Sign in time for another time; where no time is signed, for another address or key."""
    off = 301 + number % 10_000
    at = int(sender.clock.now().timestamp()) + (off if number % 2 else -off)
    if sender.scheme == "square":
        away = replace(sender, url=f"{sender.url}/")
        return _resigned(away, signed)
    if sender.scheme == "quickbooks":
        return _resigned(sender, signed, secret=sender.secret + " ")
    return _resigned(sender, signed, at=at)


def _in_another_encoding(_sender: Sender, signed: Signed, _number: int) -> Signed:
    def swap(text: str) -> str:
        head, mark, found = text.rpartition("v1=")
        if mark:
            return head + mark + base64.b64encode(bytes.fromhex(found)).decode()
        head, mark, found = text.rpartition(",")
        return head + mark + base64.b64decode(found).hex()

    return _with_signature(signed, swap)


FORGED: dict[str, Forge] = {
    "another secret": lambda s, d, n: _resigned(
        s, d, secret=f"whsec_{base64.b64encode(str(n).encode() * 9).decode()}"
    ),
    "one byte changed": lambda s, d, n: d.changed(
        body=d.body[: n % len(d.body)]
        + bytes([d.body[n % len(d.body)] ^ 1])
        + d.body[n % len(d.body) + 1 :]
    ),
    "no header": lambda s, d, n: _with_signature(d, lambda text: None),
    "an empty header": lambda s, d, n: _with_signature(d, lambda text: ""),
    "garbage": lambda s, d, n: _with_signature(d, lambda text: _odd_text(n)),
    "at another time": _late,
    "another encoding": _in_another_encoding,
    "cut short": lambda s, d, n: _with_signature(d, lambda text: text[: -1 - n % 40]),
    "signed with nothing": lambda s, d, n: _resigned(
        s, d, secret="whsec_" if s.scheme == "hooked" else ""
    ),
    "written again": lambda s, d, n: d.changed(body=b" " + d.body + b"\n"),
    "2,000 signatures": lambda s, d, n: _with_signature(
        d,
        lambda text: ",".join(
            [text.replace("v1=", "v0=").replace("v1,", "v0,")] + ["v1=00"] * 2000
        ),
    ),
    "elsewhere": lambda s, d, n: d.changed(
        path=d.path[:-4] + f"{n % 10_000:04d}".translate(str.maketrans("0189", "abcd"))
    ),
}
"""Twelve ways to be false."""


def forgeries(harbour: Harbour, count: int) -> Iterator[tuple[str, str, Signed]]:
    """Yield shape, scheme and delivery, all shapes over all schemes that sign, and by path."""
    signing = [sender for name, sender in harbour.senders.items() if name != "mailchimp-unsigned"]
    originals = {sender.scheme: sender.signed("evt-of-the-forger") for sender in signing}
    shapes = list(FORGED.items())
    for number in range(count):
        shape, forge = shapes[number % len(shapes)]
        sender = signing[number // len(shapes) % len(signing)]
        yield shape, sender.scheme, forge(sender, originals[sender.scheme], number)
