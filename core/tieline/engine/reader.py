"""Read single records of a connection, for events: opened when the first is needed."""

from __future__ import annotations

import threading
from datetime import timedelta

from tieline.auth import OpenConnection
from tieline.contract import (
    Entity,
    NeedsReauthError,
    ProviderUnavailableError,
    Record,
    TielineError,
)
from tieline.engine.blame import blamed
from tieline.engine.event_fate import is_wide
from tieline.engine.fetch import Timed
from tieline.engine.kit import Engine
from tieline.errors import DeclarationError, DependencyError
from tieline.records import rank_of
from tieline.registry import Plugin
from tieline.store import connections as connection_store
from tieline.store.connections import ConnectionRow

__all__ = ["RecordReader"]

_DOWN_AFTER = 3


class RecordReader:
    """Reads records by key, each once: what fails waits, and is tried by a later drain.

    Once it is plain that the provider answers nobody now, it is not asked for
    the others.

    Args:
        engine: The parts.
        row: The connection.
        stop: Cuts waits for the provider's limits short.

    Attributes:
        skew: The provider's clock less ours, as the last answer told.
        generation: Which credential was used last; None: none was.
    """

    def __init__(self, engine: Engine, row: ConnectionRow, stop: threading.Event) -> None:
        self._engine = engine
        self._row = row
        self._stop = stop
        self._opened: OpenConnection | None = None
        self._has_renewed = False
        self._failures = 0
        self._down: Exception | None = None
        self.skew = timedelta(0)
        self.generation: int | None = None

    def read(self, plugin: Plugin, entity: Entity, key: str) -> tuple[Record | None, int]:
        """Read one record.

        Returns:
            The record, None if it is gone, and the rank of what was read.

        Raises:
            NeedsReauthError: The credential was refused, and so was a new one
                if there was one.
            DependencyError: The database is away, or Redis.
            ProviderError: It cannot be read.
            TielineError: Settings, vault or plugin are at fault.
        """
        if self._down is not None:
            raise self._down
        try:
            found = self._read(plugin, entity, key)
        except NeedsReauthError:
            if not self._renew():
                raise
            found = self._read(plugin, entity, key)
        except Exception as error:
            self._note(error)
            raise
        self._failures = 0
        return found

    def close(self) -> None:
        """Close all sockets."""
        if self._opened is not None:
            self._opened.transport.close()
            self._opened = None

    def _read(self, plugin: Plugin, entity: Entity, key: str) -> tuple[Record | None, int]:
        if entity.get is None:
            raise DeclarationError(
                f"{plugin.found.distribution}: {entity.name} has events without a record,"
                " and no get to read it"
            )
        opened, get = self._open(), entity.get

        def ask(wanted: str) -> Record | None:
            with blamed(plugin, entity):
                return get(opened.client, wanted)

        calls, timed = opened.transport.calls_here, Timed(ask, self._engine.clock, opened.transport)
        record = timed(key)
        if opened.transport.calls_here > calls:
            as_of = opened.transport.as_of_here
            self.skew = timedelta(0) if as_of is None else as_of - timed.sent_at
        return record, rank_of(timed.sent_at + self.skew)

    def _open(self) -> OpenConnection:
        if self._opened is None:
            # Read first: what is refused from here on may have been replaced meanwhile.
            with self._engine.database.read() as connection:
                _, self.generation = connection_store.read_sealed(connection, self._row.id)
            try:
                self._opened = self._engine.opener.open(self._row.id, stop=self._stop, pace="live")
            except (NeedsReauthError, DependencyError):
                raise
            except TielineError as error:
                self._down = error
                raise
        return self._opened

    def _renew(self) -> bool:
        """Have the refused credential renewed, once; say whether there is a new one."""
        if self._opened is None or self._has_renewed:
            return False
        self._has_renewed = True
        self.generation = self._opened.generation
        self.close()
        return self._engine.opener.renew_refused(self._row.id, self.generation)

    def _note(self, error: Exception) -> None:
        """Find out whether the provider answers nobody now, or this one call had bad luck."""
        is_silent = isinstance(error, ProviderUnavailableError)
        self._failures = self._failures + 1 if is_silent else 0
        if is_wide(error) or self._failures >= _DOWN_AFTER:
            self._down = error
