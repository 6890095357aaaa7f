"""A provider in a few lines, and random interleavings of the copies that it gives away.

Its clock is exact and what it tells of it is in whole seconds. Ids are never
used again. A case is a provider, a few deliveries that are under way side by
side, and a seed that decides every step of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random

from marshmallow import fields

from tieline.contract import Change, Entity, Page, RecordSchema
from tieline.errors import Overtaken
from tieline.records import Draft, PageWriter, Plan
from tieline.records.canonical import canonical
from tieline.store import records as store
from tieline.store.database import Desk

SECOND = 1_000_000
START = datetime(2026, 11, 1, 12, tzinfo=UTC)
_START_US = int(START.timestamp()) * SECOND
_MOST_TURNS = 40


class Item(RecordSchema):
    id = fields.String(required=True)
    name = fields.String()
    version = fields.Integer()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the entity can do, and how finely its provider tells time.

    Attributes:
        name: For people.
        has_get: Records can be read again.
        versions: How versions grow: none at all, ``strict``, or ``loose`` (a
            change may keep the number).
        is_exact: Pages are read at the microsecond, not at a whole second.
        is_spaced: Copies of one object are never of the same two seconds.
        lists: Pages of the list are among the copies.
        ends: What comes last: each ``event`` at least once, or a whole ``list``.
    """

    name: str
    has_get: bool = True
    versions: str = ""
    is_exact: bool = False
    is_spaced: bool = False
    lists: bool = True
    ends: str = "event"

    def entity(self, name: str) -> Entity:
        return Entity(
            name=name,
            schema=Item(),
            page=_never,
            get=_never if self.has_get else None,
            version=(lambda record: record["version"]) if self.versions else None,
        )


def _never(*_given):
    raise AssertionError("the model reads for itself")


@dataclass
class Model:
    """The provider: objects, and a log of what happened to them."""

    rng: Random
    kind: Kind
    now: int = _START_US
    objects: dict[str, dict] = field(default_factory=dict)
    log: list[Change] = field(default_factory=list)
    made: int = 0
    versions: int = 0

    def tick(self) -> None:
        steps = (1, 90_000, 700_000, 2_600_000, 7_000_000)
        if self.kind.is_spaced:
            steps = (2_000_001, 5_000_000)
        self.now += self.rng.choice(steps)

    def change(self, most: int) -> None:
        """Create, change or delete one object."""
        rng = self.rng
        if self.kind.is_spaced:
            self.tick()
        if not self.objects or (self.made < most and rng.random() < 0.3):
            self.made += 1
            self._put(f"k{self.made}")
            return
        key = rng.choice(sorted(self.objects))
        if rng.random() < 0.25:
            del self.objects[key]
            self.log.append(Change(key=key, at=self._told(), is_deleted=True))
        else:
            self._put(key)

    def _put(self, key: str) -> None:
        # Few contents, so that an object often is again what it once was.
        record = {"id": key, "name": self.rng.choice("abc")}
        if self.kind.versions:
            is_new = self.kind.versions == "strict" or self.rng.random() < 0.6
            before = self.objects.get(key, {}).get("version", 0)
            record["version"] = before + is_new
        self.objects[key] = record
        has_record = not self.kind.has_get or self.rng.random() < 0.8
        self.log.append(
            Change(key=key, at=self._told(), record=dict(record) if has_record else None)
        )

    def _told(self) -> datetime:
        return datetime.fromtimestamp(self.now // SECOND, UTC)

    def page(self) -> tuple[Page, int]:
        """Read some of the list; return it with the time that the provider tells."""
        keys = [key for key in sorted(self.objects) if self.rng.random() < 0.8]
        page = Page(records=[dict(self.objects[key]) for key in keys], next=None)
        return page, self.read_at()

    def read_at(self) -> int:
        """Tell when a read begins that is answered with what is there now."""
        if self.kind.is_exact:
            return self.now
        late = self.rng.choice((0, 0, 1))
        return (self.now // SECOND - late) * SECOND

    def get(self, key: str) -> dict | None:
        found = self.objects.get(key)
        return dict(found) if found else None


@dataclass
class Case:
    """One interleaving, from its seed."""

    desk: Desk
    connection_id: str
    kind: Kind
    seed: int
    name: str
    tells: bool = False

    def __post_init__(self) -> None:
        self.rng = Random(f"{self.kind.name} {self.seed}")
        self.model = Model(self.rng, self.kind)
        self.entity = self.kind.entity(self.name)
        self.waiting: list[Callable[[PageWriter], tuple[Draft, set[str]]]] = []
        self.under_way: list[Iterator[None]] = []
        self.writers: list[PageWriter] = []
        self.unsent = 0
        self.most = self.rng.randint(1, 4)
        self.buried: set[str] = set()
        self.is_sweeping = False
        self.read_until = 0
        self.copies = 0
        self.story: list[str] = []

    def play(self) -> None:
        """Play the case; raise AssertionError if it ends in anything but the truth."""
        rng = self.rng
        acts = (self._change, self.model.tick, self._send, self._begin, self._go_on, self._sweep)
        for _ in range(rng.randint(8, 40)):
            rng.choices(acts, (4, 2, 3, 4, 10, 0.5))[0]()
        self._send_the_rest()
        while self.waiting or self.under_way:
            rng.choice((self._begin, self._go_on, self._go_on))()
        if self.kind.ends == "list":
            self._read_whole()
        assert self.stored() == self.truth(), "at rest it differs from the provider"

    def _change(self) -> None:
        self.model.change(self.most)
        self._say("provider: {}", self.model.log[-1])

    def _send(self) -> None:
        """Make a copy: of the list as it is now, or of some of the log."""
        if self.kind.lists and self.rng.random() < 0.4:
            if self.kind.is_spaced:
                self.model.tick()
            page, at = self.model.page()
            self.waiting.append(lambda writer: (writer.draft_page(page, rank=at), set()))
            self.copies += len(page.records)
            self._say("list read at {}: {}", at - _START_US, page.records)
        elif self.unsent < len(self.model.log) and self.rng.random() < 0.7:
            count = self._some(len(self.model.log) - self.unsent)
            self._send_changes(self.model.log[self.unsent : self.unsent + count])
            self.unsent += count
        elif self.model.log:
            self._send_changes(self.rng.sample(self.model.log, self._some(len(self.model.log))))

    def _some(self, most: int) -> int:
        return self.rng.randint(1, min(most, 4))

    def _send_changes(self, changes: list[Change]) -> None:
        source = "feed" if len(changes) > 1 else self.rng.choice(("feed", "webhook"))
        if self.kind.ends == "event" and self.rng.random() < 0.5:
            changes.sort(key=lambda change: change.at, reverse=True)
        if not self.kind.has_get:  # a page has the order in which things happened
            changes.sort(key=self.model.log.index)
        gone = {change.key for change in changes if change.is_deleted}
        self.waiting.append(lambda writer: (writer.draft_changes(changes, source=source), gone))
        self.copies += len(changes)
        self._say("{} sent: {}", source, changes)

    def _send_the_rest(self) -> None:
        """Send what happened, each thing at least once."""
        rest = self.model.log[self.unsent :]
        self.rng.shuffle(rest)
        while rest:
            count = self._some(len(rest))
            self._send_changes(rest[:count])
            del rest[:count]
        self.rng.shuffle(self.waiting)

    def _begin(self) -> None:
        if self.waiting and len(self.under_way) < 4:
            at = self.rng.randrange(len(self.waiting))
            self.under_way.append(self._deliver(self.waiting.pop(at), self.copies))

    def _go_on(self) -> None:
        if self.under_way:
            one = self.rng.choice(self.under_way)
            if next(one, self) is self:
                self.under_way.remove(one)

    def _writer(self) -> PageWriter:
        if self.writers and self.rng.random() < 0.5:
            return self.rng.choice(self.writers)
        read_until = self.rng.choice((0, self.read_until))
        self.writers.append(
            PageWriter(self.desk, self.connection_id, self.entity, read_until=read_until)
        )
        return self.writers[-1]

    def _deliver(self, make, number: int) -> Iterator[None]:
        """Bring one page in, step by step, as the engine does."""
        writer = self._writer()
        draft, gone = make(writer)
        for _ in range(_MOST_TURNS):
            yield
            plan = writer.compare(draft, now=self.model.now)
            self._say("#{} compared: {}", number, plan)
            yield
            if not plan.asks:
                try:
                    self._write(writer, plan, gone)
                except Overtaken:
                    self._say("#{} overtaken", number)
                    continue
                self._say("#{} written", number)
                return
            assert self.kind.has_get, "asked about, and cannot be"
            for key in plan.asks:
                at = self.model.read_at()
                record = self.model.get(key)
                self._say("#{} asked for {} at {}: {}", number, key, at - _START_US, record)
                yield
                writer.settle(draft, key, record, rank=at)
        raise AssertionError("a page is asked about for ever")

    def _write(self, writer: PageWriter, plan: Plan, gone: set[str]) -> None:
        self.desk.transact(
            lambda connection: writer.write(connection, plan, run_id=None, now=START)
        )
        back = plan.revived & self.buried
        assert not back, f"deleted, and back again: {back}"
        self.buried |= gone

    def _read_whole(self) -> None:
        """Read all of the list once more when everything is quiet."""
        self.model.now += 3 * SECOND
        self.under_way = [self._full(-1)]
        while self.under_way:
            self._go_on()

    def _sweep(self) -> None:
        if self.kind.lists and not self.is_sweeping:
            self.is_sweeping = True
            self.under_way.append(self._full(self.copies))

    def _full(self, number: int) -> Iterator[None]:
        """Read the list as a full run does, and bury what it does not show."""
        known = max((one.position for one in self._read()), default=0)
        if self.kind.is_spaced:
            self.model.tick()
        page = Page(records=[dict(one) for one in self.model.objects.values()], next=None)
        met = {record["id"] for record in page.records}
        at = self.model.read_at()
        self._say("full run reads at {}: {}", at - _START_US, page.records)
        yield from self._deliver(lambda writer: (writer.draft_page(page, rank=at), set()), number)
        self.read_until = max(self.read_until, at)
        unseen = sorted(
            one.record_id
            for one in self._read()
            if one.position <= known and one.record_id not in met
        )
        rank = None if self.kind.versions else at
        of = (self.connection_id, self.name, unseen)
        self.desk.transact(
            lambda connection: store.bury(connection, *of, rank=rank, run_id=None, now=START)
        )
        if self.kind.has_get:
            self.buried |= set(unseen)
        self._say("full run buries {}", unseen)
        self.is_sweeping = False

    def stored(self) -> dict[str, str]:
        """Return the digest of each record that lives here."""
        keys = [f"k{number}" for number in range(1, self.model.made + 1)]
        of = (self.connection_id, self.name, keys)
        rows = self.desk.transact(
            lambda connection: store.read_known(connection, *of), is_read=True
        )
        return {row[0]: row[1] for row in rows if not row[3]}

    def truth(self) -> dict[str, str]:
        """Return the digest of each object that the provider has."""
        return {key: canonical(record).digest for key, record in self.model.objects.items()}

    def _read(self) -> list[store.StoredRecord]:
        of = (self.connection_id, self.name)
        return self.desk.transact(
            lambda connection: store.read_records(connection, *of, with_deleted=False),
            is_read=True,
        )

    def _say(self, what: str, *values: object) -> None:
        if self.tells:
            time = (self.model.now - _START_US) / SECOND
            self.story.append(f"{time:9.6f}  {what.format(*values)}")


BY_TIME = Kind(name="time")
KINDS = [
    BY_TIME,
    replace(BY_TIME, name="time-exact", is_exact=True),
    Kind(name="versions", versions="strict"),
    Kind(name="loose-versions", versions="loose"),
    Kind(name="no-get", has_get=False, ends="list"),
    Kind(name="no-get-exact", has_get=False, is_exact=True, ends="list"),
    Kind(name="no-get-spaced", has_get=False, is_spaced=True),
    Kind(name="no-get-versions", has_get=False, versions="strict", lists=False),
    Kind(name="no-get-loose-versions", has_get=False, versions="loose", lists=False, ends="list"),
]
