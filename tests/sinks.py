"""Every place in which something of Tieline's ends up: read it whole, and plant texts in it.

A sink that is added to :func:`sinks_of` is looked at by every test of canaries, and has
to show what is planted in it: a reader that reads nothing finds nothing.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Self
from urllib.parse import quote

from sqlalchemy import MetaData, text

from api_kit import callers_of
from console_kit import signed_in
from site_of import Site
from tieline.services import syncs
from tieline.store import tables
from tieline.web.api import OPERATIONS

__all__ = ["CHANGING", "READING", "ProcessList", "Sink", "outputs_of", "sinks_of"]

# Of each command, what comes after its name. {run}, {bad} and so on are filled in.
READING = {
    "alerts": "--all",
    "audit": "--limit 1000",
    "completion": "bash",
    "config env-example": "",
    "config get": "database-url",
    "config path": "",
    "config show": "--all --origin",
    "config validate": "",
    "connections": "",
    "connections list": "",
    "connections show": "{connection}",
    "db check": "",
    "db current": "",
    "db stats": "",
    "dead": "",
    "dead list": "--all",
    "dead show": "{dead}",
    "health": "worker",
    "help": "",
    "logs tail": "--limit 1000",
    "keys": "",
    "keys check": "",
    "keys status": "",
    "limits show": "",
    "man": "",
    "outbox": "",
    "outbox list": "--state done --state dropped --state held --state dead --state queued",
    "outbox show": "{operation}",
    "providers": "",
    "providers list": "",
    "providers show": "{provider}",
    "queue": "",
    "queue show": "",
    "records consumers list": "{connection} {entity}",
    "records drift": "{connection} {entity}",
    "records explain": "{connection} {entity} {record}",
    "records export": "{connection} {entity}",
    "records follow": "{connection} {entity} --once",
    "records list": "{connection} {entity} --limit 1000",
    "records quarantine list": "{connection}",
    "records quarantine show": "{bad}",
    "records show": "{connection} {entity} {record}",
    "runs": "",
    "runs list": "",
    "runs logs": "{run}",
    "runs show": "{run}",
    "schedules": "",
    "schedules list": "",
    "schedules next": "{connection}",
    "state show": "{connection}",
    "sync plan": "{connection}",
    "tokens": "",
    "tokens list": "",
    "status": "",
    "version": "",
    "views list": "",
    "webhooks": "",
    "webhooks events list": "",
    "webhooks events show": "{event}",
    "webhooks list": "",
    "webhooks secret show": "{endpoint}",
    "webhooks show": "{endpoint}",
    # They open credentials, so what they know would hide what others show.
    "connections test": "{connection}",
    "doctor": "",
}
# These change something, or go on until they are stopped.
CHANGING = {
    "limits reset", "limits reset-breaker", "limits set",
    "bundle", "connect", "console", "connections pause", "connections reauth", "connections remove",
    "connections resume", "connections rotate-key", "connections set", "db backup",
    "db move", "db upgrade",
    "dead drop", "dead retry", "demo", "demo break", "demo mend", "demo start", "demo stop",
    "down", "init", "keys forget", "keys rotate", "outbox drop",
    "outbox resolve", "outbox retry", "push", "records consumers drop",
    "records consumers reset", "plugin badge", "plugin check", "plugin new", "plugin record",
    "plugin schema from-openapi",
    "queue drain", "queue pause", "queue resume", "runs cancel", "runs retry",
    "records quarantine drop", "records quarantine retry", "sandbox",
    "schedules pause", "schedules remove", "schedules resume", "schedules set", "scheduler",
    "tokens create", "tokens revoke",
    "state reset", "state undo",
    "serve", "sync cancel", "sync run", "up", "verify", "views create", "views drop",
    "webhooks add", "webhooks disable", "webhooks enable", "webhooks events replay",
    "webhooks listen", "webhooks send",
    "webhooks register", "webhooks remove", "webhooks secret finish", "webhooks secret rotate",
    "webhooks unregister", "worker",
}  # fmt: skip
NO_JSON = {"completion", "config env-example", "man", "records export"}


@dataclass(frozen=True, kw_only=True)
class Sink:
    """A place in which things end up.

    Attributes:
        read: Returns all of it.
        plants: Ways of putting texts there, by name.
    """

    read: Callable[[], bytes]
    plants: dict[str, Callable[[Sequence[bytes]], object]]


def sinks_of(site: Site, processes: ProcessList, *, folder: Path) -> dict[str, Sink]:
    """Return the sinks of a whole installation.

    Args:
        site: The installation.
        processes: Who looks at the list of processes meanwhile.
        folder: What holds all of its files.
    """
    return {
        "logs of processes": Sink(
            read=lambda: _joined(path.read_bytes() for path in site.cwd.glob("process*.log")),
            plants={"a log": lambda texts: _write(site.cwd / "process-planted.log", texts)},
        ),
        "output of commands": Sink(
            read=lambda: outputs_of(site), plants={"the sync log": lambda texts: _log(site, texts)}
        ),
        "answers of the API": Sink(
            read=lambda: answers_of(site), plants={"the sync log": lambda texts: _log(site, texts)}
        ),
        "pages of the console": Sink(
            read=lambda: pages_of(site), plants={"accounts": lambda texts: _name(site, texts)}
        ),
        "exported files": Sink(
            read=lambda: _exported(site), plants={"a record": lambda texts: _record(site, texts)}
        ),
        "database": Sink(
            read=lambda: _dumped(site),
            plants={
                "a text": lambda texts: _log(site, texts),
                "bytes": lambda texts: _quarantine(site, texts),
                "a document": lambda texts: _record(site, texts),
            },
        ),
        "Redis": Sink(
            read=lambda: _joined(_redis_parts(site)),
            plants={kind: _redis_plant(site, kind) for kind in _REDIS_KINDS},
        ),
        "files": Sink(
            read=lambda: _joined(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()),
            plants={"a file": lambda texts: _write(folder / "planted", texts)},
        ),
        "list of processes": Sink(
            read=processes.read, plants={"an argument": lambda texts: _argue(processes, texts)}
        ),
    }


class ProcessList:
    """Looks at the arguments of all processes, again and again, as a context."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def look(self) -> None:
        found = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True)
        self._seen |= set(found.stdout.splitlines())

    def read(self) -> bytes:
        self.look()
        return b"\n".join(sorted(self._seen))

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            self.look()


MANY = """
import json, pathlib, sys
from tieline.cli.main import main
for words in json.load(sys.stdin):
    for stream in (sys.stdout, sys.stderr):
        print("$", words[0], file=stream, flush=True)  # a later word may be a secret
    try:
        if words[0] == "write":
            pathlib.Path(words[1]).write_text(words[2])
            sys.exit()
        main(words)
    except SystemExit as end:
        print("exit", end.code, flush=True)
"""


def outputs_of(site: Site, commands: Iterable[Sequence[str]] | None = None, **extra: str) -> bytes:
    """Run commands one after the other in one process; return all that it printed.

    Args:
        site: The installation.
        commands: Their words; ``write``, a path and a text write a file in between.
            None for every command that reads, on all that there is.
        extra: Further variables of the environment.
    """
    asked = [list(words) for words in (_reading(site) if commands is None else commands)]
    done = subprocess.run(
        [sys.executable, "-c", MANY],
        env=site.environ | {"TIELINE_LOG_LEVEL": "debug"} | extra,
        cwd=site.cwd,
        input=json.dumps(asked).encode(),
        capture_output=True,
        timeout=200,
    )
    assert done.stdout.count(b"\nexit ") + done.stdout.startswith(b"exit ") == len(asked), done
    return done.stdout + done.stderr


def _reading(site: Site) -> list[list[str]]:
    with site.installation.database.read() as connection:
        found = connection.execute(text(_STORED)).all()
        values = {
            kind: [
                {kind: each}
                for each in connection.execute(text(f"SELECT id FROM {table}")).scalars()
            ]
            for kind, table in _TABLES.items()
        }
    values["connection"] = [
        {"connection": name, "provider": provider, "entity": entity, "record": record}
        for name, provider, entity, record in found
    ]
    words = []
    for name, given in READING.items():
        kind = next((kind for kind in values if f"{{{kind}}}" in given), "connection")
        for value in values[kind] if given else [{}]:
            line = [*name.split(), *given.format(**value).split()]
            words += [line] if name in NO_JSON else [line, [*line, "--json"]]
    return words


def pages_of(site: Site) -> bytes:
    """Look at the console, and at each connection in it; return every page."""
    browser = signed_in(site.installation, "admin")
    with site.installation.database.read() as connection:
        names = list(connection.execute(text("SELECT name FROM connections")).scalars())
    asked = ["/console", *(f"/console?connection={name}" for name in names)]
    replies = [browser.ask("GET", path) for path in asked]
    parts = []
    for reply in replies:
        told = [each for each in reply.headers.items() if each[0] != "set-cookie"]
        parts += [repr(told).encode(), reply.content, unescape(reply.text).encode()]
    return b"\n".join(parts)


def answers_of(site: Site) -> bytes:
    """Ask the HTTP API for all that can be read; return every answer.

    But for the signing secrets of webhook endpoints, which are there to be told.
    """
    caller = callers_of(site.installation).new("admin", name=f"sink-{secrets.token_hex(4)}")
    with site.installation.database.read() as connection:
        found = connection.execute(text(_STORED)).all()
        ids = {
            kind: list(connection.execute(text(f"SELECT id FROM {table}")).scalars())
            for kind, table in _TABLES.items()
        }
    values = {
        "connection": [row[0] for row in found],
        "provider": [row[1] for row in found],
        "entity": [row[2] for row in found],
        "record": [quote(row[3], safe="") for row in found],
    } | {{"dead": "letter"}.get(kind, kind): each for kind, each in ids.items()}
    parts = []
    for operation in OPERATIONS:
        if operation.method != "GET" or operation.name == "list_endpoint_secrets":
            continue
        names = re.findall(r"{(\w+)}", operation.path)
        for each in zip(*(values.get(name, ()) for name in names), strict=False) if names else [()]:
            path = operation.path.format(**dict(zip(names, each, strict=True)))
            query = dict(operation.query().load({})) if _has_page(operation) else {}
            reply = caller.ask("GET", path, params={"limit": 200} if "limit" in query else {})
            parts.append(repr(reply.headers).encode() + reply.content)
    return _joined(parts)


def _has_page(operation) -> bool:
    return operation.query is not None and not any(
        field.required for field in operation.query().fields.values()
    )


_TABLES = {
    "run": "runs",
    "bad": "quarantine",
    "dead": "dead_letters",
    "operation": "operations",
    "event": "webhook_events",
    "endpoint": "webhook_endpoints",
}
_STORED = """
SELECT c.name, c.provider, s.entity, min(s.record_id)
FROM connections AS c JOIN records AS s ON s.connection_id = c.id
GROUP BY c.name, c.provider, s.entity
"""


def _exported(site: Site) -> bytes:
    runs = syncs.list_runs(site.installation, limit=100)
    commands = [
        ["records", "export", connection, entity, "--format", kind, "--output", str(out)]
        for connection, entity in sorted({(run.connection_name, run.entity) for run in runs})
        for kind in ("jsonl", "csv")
        if not (out := site.cwd / f"export-{connection}-{entity}.{kind}").unlink(missing_ok=True)
    ]
    said = outputs_of(site, commands)
    paths = sorted(site.cwd.glob("export-*"))
    assert paths, said
    return _joined([said, *(path.read_bytes() for path in paths)])


def _dumped(site: Site) -> bytes:
    """Write every column of every table that there is as text; bytes as they are, too."""
    parts = []
    with site.installation.database.read() as connection:
        there = MetaData()
        there.reflect(connection)
        for table in there.sorted_tables:
            for row in connection.execute(table.select()).mappings():
                parts += [f"{table.name}.{name}={value}".encode() for name, value in row.items()]
                parts += [bytes(value) for value in row.values() if isinstance(value, bytes)]
    return _joined(parts)


def _redis_parts(site: Site) -> Iterable[bytes]:
    client = site.installation.redis
    for key in client.scan_iter(count=1000):
        yield key
        yield from _VALUES[client.type(key).decode()](client, key)


_VALUES = {
    "string": lambda client, key: [client.get(key) or b""],
    "hash": lambda client, key: [part for pair in client.hgetall(key).items() for part in pair],
    "list": lambda client, key: client.lrange(key, 0, -1),
    "set": lambda client, key: client.smembers(key),
    "zset": lambda client, key: client.zrange(key, 0, -1),
    "stream": lambda client, key: [
        part for _, fields in client.xrange(key) for pair in fields.items() for part in pair
    ],
    "none": lambda client, key: [],  # it lapsed since it was listed
}


_REDIS_KINDS = (
    "a name",
    "a string",
    "a hash",
    "a list",
    "a set",
    "a sorted set",
    "a job",
    "a failure",
)


def _redis_plant(site: Site, kind: str) -> Callable[[Sequence[bytes]], object]:
    def plant(texts: Sequence[bytes]) -> None:
        client, whole = site.installation.redis, b" ".join(texts)
        key = f"planted:{kind}"
        if kind == "a name":
            client.set(whole, 1)
        elif kind == "a string":
            client.set(key, whole)
        elif kind == "a hash":
            client.hset(key, b"of", whole)
        elif kind == "a list":
            client.rpush(key, *texts)
        elif kind == "a set":
            client.sadd(key, *texts)
        elif kind == "a sorted set":
            client.zadd(key, dict.fromkeys(texts, 1))
        elif kind == "a job":  # as RQ writes one
            client.hset("rq:job:planted", "data", zlib.compress(whole))
        else:  # as RQ keeps why a job failed
            packed = base64.b64encode(zlib.compress(whole))
            client.xadd("rq:results:planted", {"exc_string": packed})

    return plant


def _log(site: Site, texts: Sequence[bytes]) -> None:
    """Put texts into the sync log, which ``runs show`` prints."""
    run = syncs.list_runs(site.installation, limit=1)[0]
    with site.installation.database.write() as connection:
        changed = connection.execute(
            text("UPDATE sync_log SET detail = :words WHERE run_id = :run"),
            {"words": _decoded(texts), "run": run.id},
        )
        assert changed.rowcount


def _name(site: Site, texts: Sequence[bytes]) -> None:
    """Put texts where connections have the names of their accounts, each in one of its own."""
    with site.installation.database.write() as connection:
        columns = tables.connections
        [like, *_] = connection.execute(columns.select()).mappings()
        connection.execute(
            columns.insert(),
            [
                dict(like)
                | {"id": f"con_named{at}", "name": f"named{at}", "account_id": None}
                | {"account_name": one.decode()}
                for at, one in enumerate(texts)
            ],
        )


def _record(site: Site, texts: Sequence[bytes]) -> None:
    with site.installation.database.write() as connection:
        key = connection.execute(text("SELECT min(record_id) FROM records")).scalar()
        connection.execute(
            tables.records.update()
            .where(tables.records.c.record_id == key)
            .values(payload={"id": key, "words": _decoded(texts)})
        )


def _quarantine(site: Site, texts: Sequence[bytes]) -> None:
    run = syncs.list_runs(site.installation, limit=1)[0]
    with site.installation.database.write() as connection:
        connection.execute(
            tables.quarantine.insert(),
            {
                "id": "bad_planted000000000",
                "connection_id": run.connection_id,
                "entity": run.entity,
                "fingerprint": "0" * 32,
                "reason_code": "planted",
                "reason": "planted",
                "raw": b" ".join(texts),
                "rank": 1,
                "created_at": run.created_at,
                "seen_at": run.created_at,
            },
        )


def _argue(processes: ProcessList, texts: Sequence[bytes]) -> None:
    """Start a process with texts as arguments; whoever looks sees them."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable.encode(), b"-c", code.encode(), *texts],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    processes.look()
    process.communicate()


def _write(path: Path, texts: Sequence[bytes]) -> None:
    path.write_bytes(b"\n".join(texts))


def _decoded(texts: Sequence[bytes]) -> str:
    return " ".join(one.decode() for one in texts)


def _joined(parts: Iterable[bytes]) -> bytes:
    return b"\n".join(parts)
