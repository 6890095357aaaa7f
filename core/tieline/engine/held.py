"""A claimed partition: worked on while the lease is held, and given back however that ends."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime

from tieline.auth import OpenConnection
from tieline.contract import Entity, ProviderError
from tieline.engine.keeper import LeaseKeeper
from tieline.engine.kit import Engine
from tieline.errors import LeaseLost, StopRequested
from tieline.records import PageWriter
from tieline.store import connections, partitions
from tieline.store.database import Connection, Desk
from tieline.store.rows import PartitionRow, RunRow

__all__ = ["Cancelled", "CannotRead", "HeldWork"]


class Cancelled(BaseException):
    """Somebody asked the run to stop."""


class CannotRead(BaseException):
    """The provider refuses this way of reading; there is another one.

    Args:
        error: Its words.
        source: ``feed`` or ``window``.
    """

    def __init__(self, error: ProviderError, source: str) -> None:
        super().__init__(error.message)
        self.error = error
        self.source = source


@dataclass(kw_only=True, slots=True)
class HeldWork(ABC):
    """One claimed partition and the hand that works on it.

    Attributes:
        engine: The parts.
        opened: The connection's client.
        run: The run.
        entity: What is read or written.
        partition: As it was claimed.
        stop: Set when this process has to leave.
    """

    engine: Engine
    opened: OpenConnection
    run: RunRow
    entity: Entity
    partition: PartitionRow
    stop: threading.Event
    _keeper: LeaseKeeper = field(init=False)

    def __post_init__(self) -> None:
        self._keeper = LeaseKeeper(
            self._renew,
            every_s=self.engine.settings.lease_s / 3,
            most_s=self.engine.settings.page_deadline_s,
            give_up=self.engine.give_up,
        )

    def finish(self) -> None:
        """Do the partition's work to its end.

        Raises:
            StopRequested: ``stop`` was set; the lease is given back.
            Cancelled: The run is to stop; the lease is given back.
            LeaseLost: Somebody else holds the partition; nothing was changed.
            CannotRead: The run has to be planned anew; the lease is given back.
            ProviderError: Of the class that says what happens next; the lease
                is given back.
        """
        try:
            with self._keeper, self.engine.database.desk() as desk:
                self._work(desk)
        except LeaseLost:
            raise
        except (StopRequested, Cancelled):
            self._release()
            raise
        except (CannotRead, Exception) as error:
            if not self._release():  # whoever holds it now decides what becomes of the run
                raise LeaseLost from error
            raise

    @abstractmethod
    def _work(self, desk: Desk) -> None:
        """Do it."""

    def _renewed(self, connection: Connection, until: datetime) -> None:  # noqa: B027 - most have none
        """Renew what hangs on the lease, in its transaction."""

    def _check_lease(self) -> None:
        """Raise what the keeper of the lease met, if the work is over."""
        if self._keeper.reason is not None:
            raise self._keeper.reason

    def _renew(self) -> None:
        until = self.engine.lease_until()
        with self.engine.database.write() as connection:
            is_ours, is_cancelled = partitions.renew(
                connection, self.partition.id, fence=self.partition.fence, lease_until=until
            )
            if is_ours:
                self._renewed(connection, until)
        if not is_ours:
            raise LeaseLost
        if is_cancelled:
            raise Cancelled

    def _release(self) -> bool:
        """Give the lease back; False if it was lost."""
        if self.partition.state == "done":
            return True
        with self.engine.database.write() as connection:
            return partitions.release(connection, self.partition.id, fence=self.partition.fence)

    def _flush(self, writer: PageWriter) -> None:
        """Store what was counted on the way; a killed worker's share of it is lost."""
        if writer.has_shapes:
            now = self.engine.clock.now()
            with self.engine.database.write() as connection:
                if connections.hold_connection(connection, self.run.connection_id):
                    writer.flush_drift(connection, run_id=self.run.id, now=now)
