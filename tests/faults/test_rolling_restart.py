"""Every process is restarted in turn while a sync runs, software calls and providers deliver.

All of it is real: two servers, two workers and two schedulers, restarted with SIGTERM
as a supervisor does it; callers who keep their connections and have both addresses.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import select

from chances import chances
from ingest_kit import SECRETS, Harbour
from market import install_plugins, open_market
from oauth_kit import free_port
from patron_kit import Ledger, Patron
from push_kit import KEY as STALL_KEY
from senders_kit import serving, stored_keys
from servers import sandbox, truth
from site_of import Site, make_site, wait_until
from tieline.contract import Secret
from tieline.services import outbox, schedules
from tieline.services.connect import connect_api_key
from tieline.services.connections import get_connection
from tieline.services.tokens import create_token
from tieline.store import connections
from tieline.store.ids import new_id
from tieline.store.tables import records, webhook_events
from tieline.store.tables import runs as runs_table
from tieline.store.tables import schedules as schedules_table

ROUNDS = chances(suite=1, soak=12)
CUSTOMERS = chances(suite=1_000, soak=5_000)
PAIR = 2
CALLERS = 4
PAUSE_S = 0.02
POLITE = {0, 143}


@pytest.fixture
def site(database_url, redis_url, tmp_path, tmp_path_factory, monkeypatch):
    """A shop at Stripe's sandbox, and a stall at a market where objects can be made."""
    folder = install_plugins(tmp_path_factory.mktemp("plugins"), "market")
    monkeypatch.syspath_prepend(folder)
    made = make_site(
        tmp_path / "site",
        database_url,
        redis_url,
        lease_s="5",
        sweep_s="0.2",
        stripe_rate_limits="4/second",
        api_calls_per_minute="1000000",
    )
    made.environ |= {"PYTHONPATH": folder}
    made.installation.close()
    del made.__dict__["installation"]
    yield made
    made.close()


@dataclass
class Staff:
    """The processes of an installation, two of each role.

    Attributes:
        site: The installation.
        codes: What those that were told to leave ended with, to how often.
    """

    site: Site
    ports: list[int] = field(default_factory=lambda: [free_port() for _ in range(PAIR)])
    by_role: dict[str, list[subprocess.Popen]] = field(default_factory=dict)
    codes: Counter[int] = field(default_factory=Counter)

    def hire(self) -> list[str]:
        """Start everybody; return the servers' addresses."""
        self.by_role = {
            role: [self._started(role, number) for number in range(PAIR)]
            for role in ("serve", "worker", "scheduler")
        }
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    def restart(self, role: str, number: int) -> None:
        """Tell one to leave, wait until it has, start its successor."""
        process = self.by_role[role][number]
        assert process.poll() is None, f"{role} {number} had left by itself"
        process.send_signal(signal.SIGTERM)
        self.codes[process.wait(60)] += 1
        self.by_role[role][number] = self._started(role, number)

    def _started(self, role: str, number: int) -> subprocess.Popen:
        if role == "serve":
            return serving(self.site, self.ports[number])[0]
        return self.site.start(role)


@dataclass
class Load:
    """What goes on all the time, each in a thread of its own."""

    site: Site
    urls: list[str]
    harbour: Harbour
    token: str
    ledger: Ledger = field(default_factory=Ledger)
    stop: threading.Event = field(default_factory=threading.Event)
    delivered: list[str] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    followed: list[tuple[str, int]] = field(default_factory=list)
    position: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def deliver(self, patron: Patron) -> None:
        """Deliver an event about a customer of its own."""
        name = f"evt_roll_{next(self.numbers):05d}"
        record = {"id": customer_of(name), "created": int(time.time()), "name": name}
        signed = self.harbour.senders["stripe"].signed(name, record=record)
        reply = patron.ask("POST", signed.path, signed.body, signed.headers)
        assert reply.status == 200, reply
        self.delivered.append(name)

    def make(self, patron: Patron) -> None:
        """Ask that an object be made, under a key."""
        name = f"n{next(self.numbers):05d}"
        change = {"kind": "create", "payload": {"name": name}}
        body = json.dumps({"entity": "keyed", "changes": [change]}).encode()
        reply = patron.ask(
            "POST", "/v1/connections/stall/outbox", body, {"Idempotency-Key": f"roll-{name}"}
        )
        assert reply.status == 202, reply
        [operation] = json.loads(reply.body)["operations"]
        self.asked[name] = operation["id"]

    def follow(self, patron: Patron) -> None:
        """Read what is new in the change feed, and keep one's own position."""
        path = "/v1/connections/shop/entities/customers/changes"
        reply = patron.ask("GET", f"{path}?after={self.position}&limit=100")
        assert reply.status == 200, reply
        page = json.loads(reply.body)
        self.followed += [(each["id"], each["revision"]) for each in page["data"]]
        self.position = page["next"]

    def list(self, patron: Patron) -> None:
        """Read a page of records."""
        reply = patron.ask("GET", "/v1/connections/shop/entities/customers/records?limit=100")
        assert reply.status == 200, reply

    def work(self, what: Callable[[Patron], None]) -> None:
        """Do one thing again and again until it is over."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        is_stranger = what == self.deliver
        patron = Patron(self.urls, self.ledger, {} if is_stranger else headers)
        try:
            while not self.stop.is_set():
                what(patron)
                time.sleep(random.uniform(0, 2 * PAUSE_S))
        finally:
            patron.close()


def add_inn(site: Site) -> None:
    """Add a connection that only takes deliveries: no run finds out that its customers are none."""
    with site.installation.database.write() as transaction:
        shop = connections.find_connection(transaction, "shop")
        assert shop is not None
        inn = replace(shop, id=new_id("con"), name="inn", account_id="acct_inn")
        connections.add_connection(transaction, inn)


def customer_of(name: str) -> str:
    return name.replace("evt_", "cus_")


def states_of_events(site: Site) -> Counter[str]:
    """Count events by their state."""
    with site.installation.database.read() as transaction:
        return Counter(transaction.execute(select(webhook_events.c.state)).scalars())


def make_ticks_due(site: Site) -> None:
    with site.installation.database.write() as transaction:
        transaction.execute(schedules_table.update().values(next_at=site.installation.clock.now()))


def runs_by_tick(site: Site) -> Counter[str]:
    """Count what each schedule has asked for."""
    with site.installation.database.read() as transaction:
        rows = transaction.execute(runs_table.select()).mappings().all()
    return Counter(row["asked_by"] for row in rows if row["asked_by"].startswith("schedule:"))


def ticks_of(site: Site) -> Counter[str]:
    with site.installation.database.read() as transaction:
        rows = transaction.execute(schedules_table.select()).mappings().all()
    return Counter({f"schedule:{row['id']}": row["ticks"] for row in rows})


@pytest.mark.timeout(180 + 60 * ROUNDS)
def test_a_rolling_restart_under_load_loses_nothing_doubles_nothing_and_stays_polite(site):
    with sandbox(customers=CUSTOMERS) as url, open_market() as market:
        market.members[STALL_KEY] = "m0"
        site.connect(url)
        made = site.installation
        connect_api_key(
            made, "market", name="stall", key=Secret(STALL_KEY), base_url=market.url, actor="test"
        )
        schedules.set_schedule(made, "stall", "plain", "every 1d", actor="test", jitter_s=0)
        harbour = Harbour(made, made.clock)
        add_inn(site)
        harbour.connections["inn"] = get_connection(made, "inn").id
        harbour.senders["stripe"] = harbour.add("stripe", "inn", secret=SECRETS["stripe"])
        token = create_token(made, "roll", scope="operate", actor="test").token.reveal()
        staff = Staff(site)
        load = Load(site, staff.hire(), harbour, token)
        runs = roll_under_load(site, staff, load)
        wait_until(lambda: all(site.state_of(run).is_over for run in runs), seconds=120)
        settle(site, load)

        assert load.ledger.impolite == []
        assert set(staff.codes) <= POLITE, staff.codes
        assert [line for line in site.logs().splitlines() if "Traceback" in line] == []
        assert load.ledger.refused > 0, "nobody noticed that servers were away"
        assert {site.state_of(run).state for run in runs} == {"succeeded"}
        assert site.exported() == truth(url)
        assert Counter(load.followed) == Counter((each, 1) for each in truth(url))
        assert revisions(site, "inn") == dict.fromkeys(map(customer_of, load.delivered), 1)
        assert market.goods["keyed"].names() == sorted(load.asked)
        assert set(market.goods["keyed"].done.values()) == {1}
        assert sorted(stored_keys(harbour)) == sorted(load.delivered)
        assert_each_tick_was_taken_once(site)


def assert_each_tick_was_taken_once(site: Site) -> None:
    """A tick that finds the last one's run under way asks for none."""
    [(schedule, asked)] = runs_by_tick(site).items()
    # The first is due when the schedule is made, others when a scheduler is restarted.
    assert 1 <= asked <= ticks_of(site)[schedule] <= 1 + ROUNDS * PAIR


def roll_under_load(site: Site, staff: Staff, load: Load) -> list[str]:
    """Restart everybody in turn; return the runs that went on meanwhile."""
    runs = [site.ask(mode="full")]
    wait_until(lambda: site.state_of(runs[-1]).counts.seen > 0)
    tasks = [load.deliver, load.make, load.list] * CALLERS + [load.follow]
    with ThreadPoolExecutor(len(tasks)) as pool:
        working = [pool.submit(load.work, task) for task in tasks]
        try:
            for _ in range(ROUNDS):
                for role in staff.by_role:
                    for number in range(PAIR):
                        if site.state_of(runs[-1]).is_over:
                            runs.append(site.ask(mode="full"))
                        if role == "scheduler":
                            make_ticks_due(site)
                        staff.restart(role, number)
        finally:
            load.stop.set()
        for each in working:
            each.result(60)
    return runs


def settle(site: Site, load: Load) -> None:
    """Wait until all that was accepted is done, and read the feed to its end."""
    ids = list(load.asked.values())
    made = site.installation
    wait_until(
        lambda: all(row.state == "done" for row in outbox.get_operations(made, ids)), seconds=120
    )
    wait_until(lambda: set(states_of_events(site)) <= {"done"}, seconds=120)
    headers = {"Authorization": f"Bearer {load.token}"}
    patron = Patron(load.urls, load.ledger, headers)
    before = -1
    while load.position != before:
        before = load.position
        load.follow(patron)
    patron.close()


def revisions(site: Site, name: str) -> dict[str, int]:
    """Return how often each record of a connection was written."""
    where = records.c.connection_id == get_connection(site.installation, name).id
    with site.installation.database.read() as transaction:
        found = select(records.c.record_id, records.c.revision).where(where)
        return dict(map(tuple, transaction.execute(found)))
