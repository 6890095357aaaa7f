"""Read a change feed: every change of an entity's records, in order, once or on and on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tieline.errors import InvalidInputError, NotFoundError, RefusedError, nearest
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.services.records import restored
from tieline.store import connections, log
from tieline.store import consumers as store
from tieline.store.connections import ConnectionRow
from tieline.store.consumers import ConsumerRow
from tieline.store.database import Connection as Transaction
from tieline.store.records import StoredRecord, read_records

__all__ = [
    "Changes",
    "Consumer",
    "Feed",
    "ListedConsumer",
    "acknowledge",
    "consumer_of",
    "drop_consumer",
    "list_consumers",
    "open_consumer",
    "open_feed",
    "read_changes",
    "reset_consumer",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIMIT = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """One stretch of a change feed.

    Attributes:
        records: Each as it stands, in the order of their last change,
            tombstones among them unless they were not wanted.
        after: The position after which the stretch begins.
        next: The position to go on after: that of the last change looked at.
        end: Position of the feed's last change at the time of reading.
    """

    records: Sequence[StoredRecord]
    after: int
    next: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """The change feed of one entity of one connection."""

    installation: Installation
    connection: ConnectionRow
    entity: str

    def read(self, after: int, *, limit: int = _LIMIT, with_deleted: bool = True) -> Changes:
        """Read the changes after a position.

        Args:
            after: 0 for the beginning, then ``next`` of the changes before.
            limit: The most changes to look at; tombstones that are not wanted
                count.
            with_deleted: Whether tombstones are wanted.

        Raises:
            NotFoundError: The connection was removed.
            RefusedError: The feed does not reach to ``after``.
        """
        with self.installation.database.read() as transaction:
            return self._read(transaction, after, limit, with_deleted=with_deleted)

    def end(self) -> int:
        """Return the position of the last change; 0 if there was none yet."""
        with self.installation.database.read() as transaction:
            return self._end(transaction)

    def _read(
        self, transaction: Transaction, after: int, limit: int, *, with_deleted: bool
    ) -> Changes:
        found = read_records(transaction, self.connection.id, self.entity, after=after, limit=limit)
        end = self._end(transaction)
        if after > end:
            raise RefusedError(
                f"the feed of {self.connection.name} {self.entity} ends at position {end}, and"
                f" position {after} was asked for",
                hint="if the database was restored from a copy, begin again at a position that"
                " it has",
                code="position-ahead",
            )
        return Changes(
            records=[
                restored(record) for record in found if with_deleted or record.deleted_at is None
            ],
            after=after,
            next=found[-1].position if found else after,
            end=end,
        )

    def _end(self, transaction: Transaction) -> int:
        state = connections.read_entity_state(transaction, self.connection.id, self.entity)
        if state is not None:
            return state.position
        if connections.find_connection(transaction, self.connection.id) is None:
            raise NotFoundError(
                f"the connection {self.connection.name!r} was removed", code="connection-removed"
            )
        return 0


class Consumer:
    """A named reader of a feed, whose position is kept in the database.

    Changes come at least once: read, deal with them, and only then
    :meth:`move_on`. Whoever is killed in between gets them again. Two readers
    of one name do no harm: the slower one is told so.

    Args:
        feed: What it reads.
        row: Where it stands.
    """

    def __init__(self, feed: Feed, row: ConsumerRow) -> None:
        self._feed = feed
        self.name = row.name
        self.position = row.position

    def read(self, *, limit: int = _LIMIT, with_deleted: bool = True) -> Changes:
        """Read what comes after the position; see :meth:`Feed.read`.

        Raises:
            NotFoundError: Consumer or connection were removed.
            RefusedError: Somebody else moved this consumer, or the feed does
                not reach to its position.
        """
        feed = self._feed
        with feed.installation.database.read() as transaction:
            row = store.find_consumer(transaction, feed.connection.id, feed.entity, self.name)
            if row is None or row.position != self.position:
                raise self._moved(row)
            return feed._read(  # noqa: SLF001 - the two are one
                transaction, self.position, limit, with_deleted=with_deleted
            )

    def move_on(self, changes: Changes) -> None:
        """Note that changes were dealt with.

        Raises:
            NotFoundError: The consumer was dropped.
            RefusedError: Somebody else moved it since the changes were read;
                it stays where that one put it.
        """
        if changes.next == self.position:
            return
        feed = self._feed
        of = (feed.connection.id, feed.entity, self.name)

        tries = 0

        def work(transaction: Transaction) -> tuple[bool, ConsumerRow | None]:
            nonlocal tries
            tries += 1
            now = feed.installation.clock.now()
            is_moved = store.move_consumer(
                transaction, *of, after=changes.after, to=changes.next, now=now
            )
            return is_moved, store.find_consumer(transaction, *of)

        is_moved, row = feed.installation.database.transact(work)
        # A try before may have been committed, and its answer lost.
        is_moved = is_moved or (tries > 1 and row is not None and row.position == changes.next)
        if not is_moved:
            raise self._moved(row)
        self.position = changes.next

    def _moved(self, row: ConsumerRow | None) -> NotFoundError | RefusedError:
        if row is None:
            return NotFoundError(
                f"the consumer {self.name!r} of {_called(self._feed)} was dropped",
                code="consumer-dropped",
            )
        return RefusedError(
            f"the consumer {self.name!r} of {_called(self._feed)} was moved by somebody else, from"
            f" position {self.position} to {row.position}",
            hint="let one reader at a time use this name, or give this one a name of its own",
            code="consumer-moved",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedConsumer:
    """A consumer and how far it is.

    Attributes:
        row: As it is stored.
        behind: How many positions it is behind the feed's end, and so the most
            changes that it has to read.
    """

    row: ConsumerRow
    behind: int


def open_feed(installation: Installation, connection: str, entity: str) -> Feed:
    """Open a change feed; whether anything changed yet does not matter.

    Raises:
        NotFoundError: No such connection or entity.
    """
    row = get_connection(installation, connection)
    declared = installation.registry.get(row.provider).entity(entity)
    return Feed(installation=installation, connection=row, entity=declared.name)


def read_changes(
    installation: Installation,
    connection: str,
    entity: str,
    *,
    after: int = 0,
    limit: int = _LIMIT,
    with_deleted: bool = True,
) -> Changes:
    """Read the changes of an entity after a position, for whoever keeps it.

    A committed change is never skipped, however many writers there are: a
    smaller position cannot be committed after a larger one was read. Of a
    record that changed several times only the last state comes.

    Args:
        installation: Where.
        connection: Name or id.
        entity: Whose records.
        after: 0 for the beginning, then ``next`` of the changes before.
        limit: The most changes to look at.
        with_deleted: Whether tombstones are wanted.

    Raises:
        NotFoundError: No such connection or entity.
        RefusedError: The feed does not reach to ``after``.
    """
    feed = open_feed(installation, connection, entity)
    return feed.read(after, limit=limit, with_deleted=with_deleted)


def open_consumer(installation: Installation, connection: str, entity: str, name: str) -> Consumer:
    """Open a consumer, which begins with the feed if there was none of that name.

    Raises:
        NotFoundError: No such connection or entity.
        InvalidInputError: That can be no name.
    """
    return consumer_of(open_feed(installation, connection, entity), name)


def consumer_of(feed: Feed, name: str) -> Consumer:
    """Open a consumer of an open feed; see :func:`open_consumer`.

    Raises:
        InvalidInputError: That can be no name.
    """
    installation = feed.installation
    of = (feed.connection.id, feed.entity, _plausible(name))

    def work(transaction: Transaction) -> ConsumerRow | None:
        store.add_consumer(transaction, *of, position=0, now=installation.clock.now())
        return store.find_consumer(transaction, *of)

    with installation.database.read() as transaction:
        row = store.find_consumer(transaction, *of)
    row = row or installation.database.transact(work)
    if row is None:
        raise NotFoundError(
            f"the consumer {name!r} of {_called(feed)} was dropped", code="consumer-dropped"
        )
    return Consumer(feed, row)


def list_consumers(
    installation: Installation, connection: str, entity: str
) -> list[ListedConsumer]:
    """Return the consumers of a feed by name.

    Raises:
        NotFoundError: No such connection or entity.
    """
    feed = open_feed(installation, connection, entity)
    with installation.database.read() as transaction:
        rows = store.list_consumers(transaction, feed.connection.id, feed.entity)
        end = feed._end(transaction)  # noqa: SLF001 - of one moment
    return [ListedConsumer(row=row, behind=max(0, end - row.position)) for row in rows]


def reset_consumer(
    installation: Installation,
    connection: str,
    entity: str,
    name: str,
    *,
    to: int | None,
    actor: str,
) -> ListedConsumer:
    """Put a consumer to a position; make it there if there is none of that name.

    A reader that follows under this name at the moment is told, and stops.

    Args:
        installation: Where.
        connection: Name or id.
        entity: Whose feed.
        name: The consumer.
        to: After which position it goes on; 0 for the beginning, None for the end.
        actor: Who does it, for the sync log.

    Raises:
        NotFoundError: No such connection or entity.
        InvalidInputError: That can be no name, or the feed has no such position.
    """
    feed = open_feed(installation, connection, entity)
    of = (feed.connection.id, feed.entity, _plausible(name))

    def work(transaction: Transaction) -> ListedConsumer:
        now = installation.clock.now()
        end = feed._end(transaction)  # noqa: SLF001 - of one moment
        position = end if to is None else to
        if not 0 <= position <= end:
            raise InvalidInputError(
                f"{_called(feed)} has positions from 0 to {end}, and not {position}",
                hint="--to begin, --to end, or a position between",
                code="position-invalid",
            )
        if not store.reset_consumer(transaction, *of, position=position, now=now):
            store.add_consumer(transaction, *of, position=position, now=now)
        _note(transaction, feed, actor, "reset", f"{name} to {position}")
        row = store.find_consumer(transaction, *of)
        assert row is not None  # this transaction wrote it
        return ListedConsumer(row=row, behind=end - row.position)

    return installation.database.transact(work)


def acknowledge(
    installation: Installation, connection: str, entity: str, name: str, *, after: int, to: int
) -> None:
    """Move a consumer on from where its changes began to where they ended.

    Args:
        installation: Where.
        connection: Name or id.
        entity: Whose feed.
        name: The consumer.
        after: Where it stood when the changes were read.
        to: ``next`` of the changes.

    Raises:
        NotFoundError: No such connection, entity or consumer.
        InvalidInputError: The feed has no such position after it.
        RefusedError: The consumer stands elsewhere: somebody else moved it.
    """
    feed = open_feed(installation, connection, entity)
    with installation.database.read() as transaction:
        row = store.find_consumer(transaction, feed.connection.id, feed.entity, name)
    if row is None:
        raise NotFoundError(
            f"there is no consumer {name!r} of {_called(feed)}", code="consumer-unknown"
        )
    end = feed.end()
    if not after <= to <= end:
        raise InvalidInputError(
            f"a consumer moves on from {after} to at most {end}, the end of the feed, not to {to}",
            code="position-unknown",
        )
    if row.position == to:
        return  # done before, and the answer was lost
    consumer = Consumer(feed, row)
    consumer.position = after
    consumer.move_on(Changes(records=[], after=after, next=to, end=end))


def drop_consumer(
    installation: Installation, connection: str, entity: str, name: str, *, actor: str
) -> None:
    """Forget a consumer; a reader that follows under its name is told, and stops.

    Raises:
        NotFoundError: No such connection, entity or consumer.
    """
    feed = open_feed(installation, connection, entity)
    of = (feed.connection.id, feed.entity)

    def work(transaction: Transaction) -> None:
        if not store.delete_consumer(transaction, *of, _plausible(name)):
            known = [row.name for row in store.list_consumers(transaction, *of)]
            raise NotFoundError(
                f"{_called(feed)} has no consumer {name!r}",
                hint=nearest(name, known),
                code="consumer-unknown",
            )
        _note(transaction, feed, actor, "dropped", name)

    installation.database.transact(work)


def _note(transaction: Transaction, feed: Feed, actor: str, done: str, detail: str) -> None:
    log.add_entry(
        transaction,
        at=feed.installation.clock.now(),
        actor=actor,
        event=f"consumer.{done}",
        connection_id=feed.connection.id,
        entity=feed.entity,
        detail=detail,
    )


def _called(feed: Feed) -> str:
    return f"{feed.connection.name} {feed.entity}"


def _plausible(name: str) -> str:
    """Refuse what can be no name before it is looked for; PostgreSQL takes no NUL, for one."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name[:60]!r} is no name for a consumer: letters, digits and ._- only, 64 at most",
            code="consumer-invalid",
        )
    return name
