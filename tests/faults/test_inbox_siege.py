"""Deliveries while servers, Valkey and workers are killed in one run, and a database that is down.

All of it is real: ten thousand deliveries in the soak lane, from eight senders
that do not stop before they are answered with success, to two servers, with two
workers that handle what comes.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select, text

from chances import chances
from ingest_kit import SECRETS, Harbour, Signed
from oauth_kit import free_port
from senders_kit import Senders, post, serving, stored_keys
from servers import sandbox
from site_of import Site, children_of, kill_group, make_site, wait_until
from tieline.services.connections import get_connection
from tieline.store.tables import records, webhook_events

SENDERS = 8
DELIVERIES = chances(suite=200, soak=10_000)
STRIKES = chances(suite=5, soak=80)
SERVERS, WORKERS = 2, 2


@pytest.fixture
def site(database_url, redis_url, tmp_path):
    made = make_site(tmp_path / "site", database_url, redis_url, lease_s="1", sweep_s="0.2")
    with sandbox(customers=1) as url:
        made.connect(url)
        yield made
    made.close()


@pytest.fixture
def harbour(site):
    """The shop, with an endpoint of its own."""
    made = Harbour(site.installation, site.installation.clock)
    made.connections["shop"] = get_connection(site.installation, "shop").id
    made.senders["stripe"] = made.add("stripe", "shop", secret=SECRETS["stripe"])
    return made


@dataclass
class Staff:
    """The processes of an installation; who dies is replaced, as a supervisor would.

    Attributes:
        site: The installation.
        valkey_pid: A file with the number of its Valkey's process.
        revive: Starts Valkey again.
        rng: Decides who dies.
        killed: What was killed, to how often.
    """

    site: Site
    valkey_pid: Path
    revive: Callable[[], object]
    rng: random.Random
    ports: list[int] = field(default_factory=list)
    servers: list = field(default_factory=list)
    workers: list = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)

    def hire(self) -> list[str]:
        """Start everybody; return the servers' addresses."""
        self.ports = [free_port() for _ in range(SERVERS)]
        started = [serving(self.site, port) for port in self.ports]
        self.servers = [process for process, _ in started]
        self.workers = [self.site.start("worker") for _ in range(WORKERS)]
        return [url for _, url in started]

    def replace_the_dead(self) -> None:
        """Start again who is gone: a worker that loses its Valkey leaves by itself."""
        for number, port in enumerate(self.ports):
            if self.servers[number].poll() is not None:
                self.servers[number] = self.site.start("serve", "--port", str(port))
        for number, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.workers[number] = self.site.start("worker")

    def strike(self, what: str) -> None:
        """Kill something, with SIGKILL."""
        self.killed[what] += 1
        if what == "valkey":
            os.kill(int(self.valkey_pid.read_text()), signal.SIGKILL)
            time.sleep(self.rng.uniform(0.05, 0.4))
            self.revive()
        elif what in {"server", "all servers"}:
            victims = [self.rng.choice(self.servers)] if what == "server" else self.servers
            for process in victims:
                process.kill()
            for process in victims:
                process.wait(10)
        elif what == "worker":
            worker = self.rng.choice(self.workers)
            kill_group(worker)
            worker.wait(10)
        else:
            for horse in children_of(self.rng.choice(self.workers).pid):
                try:
                    os.kill(horse, signal.SIGKILL)
                except ProcessLookupError:
                    continue


TARGETS = ["server", "valkey", "worker", "all servers", "work-horse"]


def customer_of(name: str) -> str:
    return name.replace("evt_", "cus_")


def make_delivery(harbour: Harbour) -> Callable[[str], Signed]:
    """Each event is about a customer of its own, so that each leaves its own trace."""
    now = int(time.time())

    def make(name: str) -> Signed:
        record = {"id": customer_of(name), "created": now, "name": name}
        return harbour.senders["stripe"].signed(name, record=record)

    return make


def log_of_handling(harbour: Harbour) -> Callable[[], Counter[str]]:
    """Have the database itself note each time that an event is set to done."""
    database = harbour.installation.database
    into = "INSERT INTO noted (event_key) VALUES (NEW.event_key);"
    when = "OLD.state <> NEW.state OR OLD.handled_at IS NOT NULL"
    trigger = "CREATE TRIGGER note AFTER UPDATE ON webhook_events"
    statements = ["CREATE TABLE noted (event_key TEXT)"]
    if database.dialect == "sqlite":
        statements.append(f"{trigger} WHEN {when} BEGIN {into} END")
    else:
        body = f"$$ BEGIN {into} RETURN NULL; END $$"
        statements.append(f"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS {body}")
        statements.append(f"{trigger} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION note()")
    with database.write() as connection:
        for statement in statements:
            connection.execute(text(statement))

    def read() -> Counter[str]:
        with database.read() as connection:
            return Counter(connection.execute(text("SELECT event_key FROM noted")).scalars())

    return read


def states_of(harbour: Harbour) -> dict[str, int]:
    statement = select(webhook_events.c.state, func.count()).group_by(webhook_events.c.state)
    with harbour.installation.database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(statement)}


@pytest.mark.timeout(1_500)
def test_what_is_acknowledged_while_everything_is_killed_is_stored_and_handled_once(
    site, harbour, redis_server
):
    distinct = [f"evt_{number:05d}" for number in range(DELIVERIES * 7 // 10)]
    noted = log_of_handling(harbour)
    pid_file = redis_server.log_path.parent / "valkey.pid"
    staff = Staff(site, pid_file, redis_server.ensure, random.Random(20261126))
    senders = Senders(harbour, staff.hire(), distinct, make_delivery(harbour))
    assert senders.count == DELIVERIES
    with ThreadPoolExecutor(SENDERS) as pool:
        sending = [pool.submit(senders.work) for _ in range(SENDERS)]
        for number in range(STRIKES):
            due = DELIVERIES * (number + 1) // (STRIKES + 1)
            wait_until(lambda due=due: _is_due(senders, staff, sending, due), seconds=120)
            staff.strike(TARGETS[number % len(TARGETS)])
            senders.look()
        wait_until(lambda: _is_due(senders, staff, sending, DELIVERIES), seconds=120)
        for each in sending:
            each.result(30)
    assert set(staff.killed) == set(TARGETS)
    assert senders.wrong == {}
    assert senders.tried[0] > 0, "nobody felt a kill"
    assert senders.acknowledged == set(distinct)
    assert sorted(stored_keys(harbour)) == distinct

    def is_handled() -> bool:
        staff.replace_the_dead()
        return states_of(harbour) == {"done": len(distinct)}

    wait_until(is_handled, seconds=120)
    assert noted() == dict.fromkeys(distinct, 1)
    with site.installation.database.read() as connection:
        found = connection.execute(select(records.c.record_id, records.c.revision)).all()
    assert dict(row for row in map(tuple, found)) == {customer_of(name): 1 for name in distinct}


def _is_due(senders: Senders, staff: Staff, sending: list, due: int) -> bool:
    for each in sending:
        if each.done():
            each.result()
    staff.replace_the_dead()
    return senders.taken >= due


def test_a_database_that_is_down_is_answered_with_503_and_nothing_is_promised(
    postgres_url, postgres_server, redis_url, tmp_path
):
    site = make_site(tmp_path / "site", postgres_url, redis_url)
    try:
        with sandbox(customers=1) as url:
            site.connect(url)
            made = Harbour(site.installation, site.installation.clock)
            made.senders["stripe"] = made.add("stripe", "shop", secret=SECRETS["stripe"])
            _deliver_while_the_database_is_down(site, made, postgres_server)
    finally:
        site.close()


def _deliver_while_the_database_is_down(site: Site, harbour: Harbour, server) -> None:
    sender = harbour.senders["stripe"]
    _, url = serving(site)
    assert post(url, sender.signed("evt_before")) == 200
    name = site.installation.database.engine.url.database
    site.installation.database.close()
    with server.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        refused = [post(url, sender.signed(f"evt_{number}")) for number in range(20)]
        time.sleep(1.1)  # now nobody knows the endpoint any more, either
        signed = sender.signed("evt_late")
        late = httpx.post(
            f"{url}{signed.path}", content=signed.body, headers=signed.headers, trust_env=False
        )
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert refused == [503] * 20
    assert (late.status_code, late.headers["retry-after"]) == (503, "5")
    assert stored_keys(harbour) == ["evt_before"]
    again = [f"evt_{number}" for number in range(20)]
    wait_until(lambda: post(url, sender.signed(again[0])) == 200)
    assert [post(url, sender.signed(each)) for each in again] == [200] * 20
    assert sorted(stored_keys(harbour)) == sorted(["evt_before", *again])
