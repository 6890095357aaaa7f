"""Records without a provider, and processes that write and follow them under fire.

Run as a script it forks writers, and one reader after the other, each killed at
a moment that the seed decides: the imports are paid for once.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tieline.clock import SystemClock
from tieline.contract import Secret
from tieline.records import canonical
from tieline.services.connect import connect_api_key
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import records as store
from tieline.store.database import Database
from tieline.store.records import NewRecord

WRITERS = 8
HOT = 12
NOBODY = "http://127.0.0.1:1"
NO_REDIS = "redis://127.0.0.1:1"


def connect_shop(installation: Installation, name: str = "shop") -> str:
    """Connect an account that nobody asks for anything; return its id."""
    row = connect_api_key(
        installation,
        "stripe",
        name=name,
        key=Secret("sk_test_nobodyasksforthis"),
        base_url=NOBODY,
        actor="test",
        is_checked=False,
    )
    return row.id


def put_page(
    database: Database,
    connection_id: str,
    entity: str,
    records: Iterable[dict],
    deleted: Iterable[str] = (),
) -> None:
    """Write a page in one transaction; every record of it becomes what is given here."""
    drafts = {record["id"]: (canonical(record), False) for record in records}
    drafts |= {key: (canonical({"id": key}), True) for key in deleted}
    keys = sorted(drafts)

    def work(connection) -> None:
        # Whoever holds the counter's row is alone until the end.
        store.take_positions(connection, connection_id, entity, 0)
        known = {row[0]: row for row in store.read_known(connection, connection_id, entity, keys)}
        new = [
            NewRecord(
                record_id=key,
                payload=text.text,
                content_hash=text.digest,
                rank=0,
                source="list",
                is_deleted=is_deleted,
                is_escaped=text.is_escaped,
                revision=known[key][4] + 1 if key in known else 1,
            )
            for key in keys
            for text, is_deleted in [drafts[key]]
        ]
        now = SystemClock().now()
        of = (connection, connection_id, entity)
        assert store.upsert(*of, new, run_id=None, now=now) == len(keys)

    database.transact(work)


def put_customers(installation: Installation, *ids: str, deleted=(), connection="shop", **more):
    row = get_connection(installation, connection)
    records = [{"id": each, "object": "customer", **more} for each in ids]
    put_page(installation.database, row.id, "customers", records, deleted)


def fork(work: Callable[[], object]) -> int:
    """Run ``work`` in a process of its own; it ends with what ``SystemExit`` says."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        work()
        code = 0
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        os._exit(code)


def write_pages(number: int, pages: int, seed: int) -> None:
    """Be one of many writers: keys of its own, each once, and some that all of them change."""
    chance = random.Random(f"{seed} {number}")
    installation = Installation()
    for turn in range(pages):
        own = [f"own-{number}-{turn}-{each}" for each in range(4)]
        hot = {f"hot-{chance.randrange(HOT)}" for _ in range(4)}
        gone = {hot.pop()} if turn % 3 == 0 else ()
        put_customers(installation, *own, *hot, deleted=gone, name=f"{number} {turn}")
        time.sleep(chance.random() * 0.02)


def follow(path: Path, *options: str) -> None:
    """Be the consumer ``crm``, by the command line, with lines going to a file."""
    from tieline.cli.main import main

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.dup2(descriptor, 1)
    main(["records", "follow", "shop", "customers", "--consumer", "crm", *options])


def kill_again_and_again(folder: Path, pages: int, seed: int) -> dict[str, int]:
    """Let writers write, and kill reader after reader until they are done."""
    chance = random.Random(seed)
    writers = {fork(lambda n=n: write_pages(n, pages, seed)) for n in range(WRITERS)}
    failed = 0
    for number in itertools.count():
        reader = fork(lambda n=number: follow(folder / f"{n:04}.jsonl"))
        time.sleep(chance.uniform(0.05, 0.7))
        os.kill(reader, signal.SIGKILL)
        os.waitpid(reader, 0)
        for writer in list(writers):
            pid, status = os.waitpid(writer, os.WNOHANG)
            if pid:
                writers.remove(pid)
                failed += status != 0
        if not writers:
            break
    last = fork(lambda: follow(folder / "last.jsonl", "--once"))
    code = os.waitstatus_to_exitcode(os.waitpid(last, 0)[1])
    return {"kills": number + 1, "failed_writers": failed, "last": code}


if __name__ == "__main__":
    # What every child needs, imported before the first fork.
    for module in ("psycopg", "tieline_stripe", "tieline.cli.commands.records"):
        importlib.import_module(module)
    told = kill_again_and_again(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.write(json.dumps(told))
