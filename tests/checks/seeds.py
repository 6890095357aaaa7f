"""Bugs that plugins have: each a patch of the scaffolded one, and the check that catches it."""

from __future__ import annotations

from dataclasses import dataclass

PLUGIN = "tieline_acme/__init__.py"
SCHEMA = "tieline_acme/schema.py"
SANDBOX = "tieline_acme_sandbox/__init__.py"


@dataclass(frozen=True, kw_only=True)
class Seed:
    """One bug.

    Attributes:
        old: A text of the file that is there once.
        new: What it becomes.
        check: The check that must fail.
        mend: A word that its advice must hold.
        kind: Which of the scaffolds is broken.
    """

    old: str
    new: str
    check: str
    mend: str
    file: str = PLUGIN
    kind: str = "api_key"


_CHANGED = "def changed_things("
_LIST = "            page=THINGS,\n"


def _page(body: str) -> str:
    """Put a function of its own in the place of the ready-made step."""
    return f"def broken(client, params, cursor):\n    {body}\n\n\n{_CHANGED}"


def _broken_page(body: str, check: str, mend: str) -> Seed:
    return Seed(old=_CHANGED, new=_page(body), check=check, mend=mend)


SEEDS = {
    "page off by one": _broken_page(
        "page = THINGS(client, params, cursor)\n"
        "    return type(page)(records=page.records[:-1], next=page.next, as_of=page.as_of)",
        "pages-completely",
        "by_cursor",
    ),
    "pages that never end": _broken_page(
        "page = THINGS(client, params, cursor)\n"
        "    return type(page)(records=page.records, next=page.next or cursor, as_of=page.as_of)",
        "pages-completely",
        "end only where",
    ),
    "the first page for ever": _broken_page(
        "page = THINGS(client, params, None)\n"
        "    return type(page)(records=page.records, next=str(int(cursor or 0) + 1),"
        " as_of=page.as_of)",
        "pages-completely",
        "the first page comes for ever",
    ),
    "a time without its zone": Seed(
        old='at=utc(record["updated_at"])',
        new='at=utc(record["updated_at"][:19])',
        check="changes-are-seen",
        mend="mend that line",
    ),
    "a promise that no record keeps": Seed(
        old="    name = fields.String(allow_none=True)",
        new="    name = fields.Integer(allow_none=True)",
        file=SCHEMA,
        check="pages-completely",
        mend="promise what the provider's reference does",
    ),
    "an event about no record": Seed(
        old='key=said["data"]["id"],',
        new='key="",',
        check="deliveries-are-read",
        mend="str(…)",
    ),
    "only the first page": _broken_page(
        "page = THINGS(client, params, cursor)\n"
        "    return type(page)(records=page.records, next=None, as_of=page.as_of)",
        "pages-completely",
        "by_cursor",
    ),
    "cursor saved before commit": _broken_page(
        "place = PLACES.setdefault(client._credential['api_key'].reveal(), {})\n"
        "    page = THINGS(client, params, cursor and place.get('at', cursor))\n"
        "    place['at'] = page.next\n"
        "    return page\n\n\nPLACES: dict = {}",
        "resumes-from-every-checkpoint",
        "keep nothing between two calls",
    ),
    "delete forgotten": Seed(
        old='deletes="sweep"',
        new='deletes="none"',
        check="deletes-are-seen",
        mend='"sweep" where only a full read does',
    ),
    "comparison by ==": Seed(
        old="    said = parse_json(body)\n",
        new="    signature = _headers.get('acme-signature')\n"
        "    if signature == 'none':\n        raise InvalidRecordError('forged')\n"
        "    said = parse_json(body)\n",
        check="signatures-are-the-cores",
        mend="Hmac(header=",
    ),
    "secret in an error": Seed(
        old="            raise refusal(reply)\n",
        new="            error = refusal(reply)\n"
        "            raise type(error)(f'{error} for {sent}')\n",
        check="secrets-stay-shut",
        mend="take the secret out of the message",
    ),
    "secret in the client's repr": Seed(
        old="    def send(\n",
        new="    def __repr__(self) -> str:\n"
        "        return f\"Client({self._credential['api_key'].reveal()})\"\n\n    def send(\n",
        check="secrets-stay-shut",
        mend="repr()",
    ),
    "wrong event type": Seed(
        old='events={"thing.changed": "re-read"}',
        new='events={"things.changed": "re-read"}',
        check="events-mean-something",
        mend="as the provider does",
    ),
    "a default that hides rows": Seed(
        old='query={"limit": 100, "archived": "true"}',
        new='query={"limit": 100}',
        check="nothing-is-hidden",
        mend="archived=true",
    ),
    "retry of an unsafe call": Seed(
        old="        if reply.status >= 300:\n",
        new="        if reply.status >= 500:\n"
        "            reply = self._transport.send(method, url, headers=sent, content=content)\n"
        "        if reply.status >= 300:\n",
        check="repeats-nothing-by-itself",
        mend="take the loop out",
    ),
    "limit not declared": Seed(
        old='    return RateLimitPolicy(rates=[Rate(limit="20/second")], concurrency=4)',
        new="    return RateLimitPolicy()",
        check="limits-are-declared",
        mend="tieline_rate_limits",
    ),
    "limit above the provider's": Seed(
        old='Rate(limit="20/second")',
        new='Rate(limit="200/second")',
        check="limits-are-the-providers",
        mend="a little less",
    ),
    "naive time": Seed(
        old='occurred_at=utc(said["occurred_at"])',
        new="occurred_at=__import__('datetime').datetime.strptime("
        "said['occurred_at'], '%Y-%m-%dT%H:%M:%SZ')",
        check="times-have-zones",
        mend="utc(value)",
    ),
    "naive time of an event": Seed(
        old='occurred_at=utc(said["occurred_at"])',
        new='occurred_at=utc(said["occurred_at"]).replace(tzinfo=None)',
        check="deliveries-are-read",
        mend="utc()",
    ),
    "float money": Seed(
        old="price_cents = Whole(allow_none=True)",
        new="price_cents = fields.Float(allow_none=True)",
        file=SCHEMA,
        check="money-is-exact",
        mend="Whole()",
    ),
    "amounts converted": _broken_page(
        "page = THINGS(client, params, cursor)\n"
        "    records = [{**one, 'price_cents': one['price_cents'] * 1.0} for one in page.records]\n"
        "    return type(page)(records=records, next=page.next, as_of=page.as_of)",
        "records-come-as-received",
        "no renaming, rounding or converting",
    ),
    "a stamp on every record": _broken_page(
        "import time\n    page = THINGS(client, params, cursor)\n"
        "    records = [{**one, 'fetched': time.monotonic_ns()} for one in page.records]\n"
        "    return type(page)(records=records, next=page.next, as_of=page.as_of)",
        "twice-equals-once",
        "Entity.volatile",
    ),
    "denied is an empty page": _broken_page(
        "from tieline.contract import Page\n"
        "    try:\n        return THINGS(client, params, cursor)\n"
        "    except PermissionDeniedError:\n        return Page(records=[], next=None)",
        "denied-is-no-success",
        "never return an empty page",
    ),
    "throttled is a bug": Seed(
        old="    if reply.status == 429:\n",
        new="    if reply.status == 4290:\n",
        check="throttling-is-obeyed",
        mend="RateLimitedError",
    ),
    "Retry-After is not read": Seed(
        old="return RateLimitedError(said, retry_after=retry_after(reply.headers))",
        new="return RateLimitedError(said)",
        check="throttling-is-obeyed",
        mend="retry_after(reply.headers)",
    ),
    "a 5xx is final": Seed(
        old="    if reply.status >= 500:\n        return ProviderUnavailableError(said)\n",
        new="",
        check="outages-are-put-off",
        mend="ProviderUnavailableError",
    ),
    "a revoked key is a missing right": Seed(
        old="    401: NeedsReauthError,\n",
        new="    401: PermissionDeniedError,\n",
        check="revoked-asks-a-person",
        mend="NeedsReauthError",
    ),
    "an account made up": Seed(
        old='    found = parse_json(get(client, "/account", {}).content)\n',
        new='    found = {"id": "acc_1", "name": f"Acme of {client}"}\n',
        check="revoked-asks-a-person",
        mend="raise NeedsReauthError",
    ),
    "a key shared by accounts": Seed(
        old='        key = self._credential["api_key"].reveal()\n',
        new='        known = REFUSALS.setdefault(0, self._credential["api_key"].reveal())\n'
        "        key = str(known)\n",
        check="accounts-are-kept-apart",
        mend="keep nothing of a credential",
    ),
    "a refused change is done": Seed(
        old='    reply = client.send("PATCH", path, operation.payload, headers)\n',
        new="    try:\n"
        '        reply = client.send("PATCH", path, operation.payload, headers)\n'
        "    except PermissionDeniedError:\n"
        "        return Outcome(record=operation.payload)\n",
        check="denied-is-no-success",
        mend="an Outcome",
    ),
    "a throttled change is a bug": Seed(
        old='    reply = client.send("POST", "/things", operation.payload, headers)\n',
        new="    try:\n"
        '        reply = client.send("POST", "/things", operation.payload, headers)\n'
        "    except RateLimitedError as error:\n"
        "        raise RuntimeError(str(error)) from error\n",
        check="throttling-is-obeyed",
        mend="RateLimitedError",
    ),
    "a version that is not sent": Seed(
        old='headers = {"If-Match": operation.token} if operation.token else {}',
        new="headers: dict[str, str] = {}",
        check="nobody-is-overwritten",
        mend="Operation.token",
    ),
    "the clock of this machine": Seed(
        old='at=utc(record["updated_at"])',
        new='at=__import__("datetime").datetime.now(__import__("datetime").UTC)',
        check="changes-tell-their-time",
        mend="no clock of this machine",
    ),
    "a log without its range": Seed(
        old='{"updated_since": window.start.isoformat()} if window.start else {}',
        new="{}",
        check="changes-tell-their-time",
        mend="params.window.start",
    ),
    "a forgotten cursor is final": Seed(
        old="    410: CursorExpiredError,\n",
        new="",
        check="expired-cursor-starts-over",
        mend="CursorExpiredError",
    ),
    "a thread at import": Seed(
        old="__all__: list[str] = []\n",
        new="import threading\n\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "__all__: list[str] = []\n",
        check="import-is-quiet",
        mend="move it into the function",
    ),
    "a connection at import": Seed(
        old="__all__: list[str] = []\n",
        new="import socket\n\n_probe = socket.socket()\n_probe.connect_ex(('127.0.0.1', 9))\n"
        "_probe.close()\n__all__: list[str] = []\n",
        check="import-is-quiet",
        mend="move it into the function",
    ),
    "a sleep": Seed(
        old="        content = None if body is None",
        new="        __import__('time')\n        import time\n\n        time.sleep(0)\n"
        "        content = None if body is None",
        check="the-core-has-the-loop",
        mend="the core waits",
    ),
    "changes after an hour": Seed(
        old='return {"updated_since": window.start.isoformat()} if window.start else {}',
        new='return {"updated_since": (window.start + timedelta(hours=3)).isoformat()}'
        " if window.start else {}",
        check="changes-are-seen",
        mend="its start included",
    ),
    "no idempotency key": Seed(
        old='    headers = {"Idempotency-Key": operation.idempotency_key}\n',
        new="    headers = {}\n",
        check="lost-answers-make-no-second",
        mend="idempotency_key",
    ),
    "a gone record is an error": Seed(
        old="    except RecordNotFoundError:\n        return None\n",
        new="    except CursorExpiredError:\n        return None\n",
        check="one-record-can-be-read",
        mend="return None",
    ),
    "a time that is not signed": Seed(
        old='signed=("timestamp", ".", "body")',
        new='signed=("body",)',
        check="forged-deliveries-are-refused",
        mend="sign the body, the time",
    ),
    "another form of signature": Seed(
        old='signed=("timestamp", ".", "body")',
        new='signed=("timestamp", "body")',
        check="true-deliveries-are-taken",
        mend="compare Hmac",
    ),
    "a signature held to nothing": Seed(
        old='            "delivery": self.signed(b\'{"id": "evt_1", "type": "thing.changed"}\'),\n',
        new="",
        file=SANDBOX,
        check="true-deliveries-are-taken",
        mend="let the sandbox sign one",
    ),
    "an event id made up": Seed(
        old='            id=said["id"],\n',
        new="            id=__import__('uuid').uuid4().hex,\n",
        check="deliveries-are-read",
        mend="not one made up",
    ),
    "the core imported": Seed(
        old="from tieline_acme.schema import",
        new="from tieline.clock import SystemClock\nfrom tieline_acme.schema import",
        check="imports-the-contract-alone",
        mend="tieline.contract",
    ),
    "a token kept": Seed(
        old='        token = self._credential["access_token"].reveal()\n',
        new="        if not hasattr(self, '_token'):\n"
        '            self._token = self._credential["access_token"].reveal()\n'
        "        token = self._token\n",
        kind="oauth2",
        check="tokens-are-read-at-each-call",
        mend="keep no copy",
    ),
}
"""Name of a bug to the bug."""


def patched(text: str, seed: Seed) -> str:
    """Put a bug into a file."""
    assert text.count(seed.old) == 1, f"{seed.old!r} is there {text.count(seed.old)} times"
    text = text.replace(seed.old, seed.new)
    if "def broken(" in seed.new:
        assert text.count(_LIST) == 1
        text = text.replace(_LIST, "            page=broken,\n")
    return text
