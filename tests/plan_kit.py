"""What statements read: each is counted while it runs, by the database itself.

A plan's words change from release to release; how many rows of a table it goes
through is what anybody waits for. PostgreSQL tells it by EXPLAIN ANALYZE, SQLite
counts the steps of its machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy import Table, event

from tieline.store.database import Database
from tieline.store.types import sqlite_time

MOST = {"postgresql": 1_500, "sqlite": 40_000}  # rows; steps, of which a long row takes a hundred
_TICK = 100
_OURS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)
_REMOVED = ("Rows Removed by Filter", "Rows Removed by Index Recheck")


@dataclass(frozen=True)
class Asked:
    """One statement as it was run.

    Attributes:
        statement: Its text.
        read: Rows that it went through, or steps that it took.
        plan: How, for people; the names of the indexes are in it.
    """

    statement: str
    read: int
    plan: str

    def __str__(self) -> str:
        words = " ".join(self.statement.split())
        return f"{self.read:,} for {words[:700]}\n{self.plan}"


@dataclass
class Recorder:
    """Counts what a database reads while it is on."""

    database: Database
    is_on: bool = False
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        way = _Sqlite(self) if self.database.dialect == "sqlite" else _Postgresql(self)
        event.listen(self.database.engine, "checkout", lambda driver, *_: way.attach(driver))
        event.listen(self.database.engine, "checkin", lambda driver, *_: way.detach(driver))

    def of(self, work: Callable[[], object]) -> list[Asked]:
        """Do some work; return its statements."""
        self.asked = []
        self.is_on = True
        try:
            work()
        finally:
            self.is_on = False
        return self.asked


class _Sqlite:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._told: list[list[Any]] = []

    def attach(self, driver: Any) -> None:
        if self._recorder.is_on:
            driver.set_trace_callback(self._began)
            driver.set_progress_handler(self._went_on, _TICK)

    def detach(self, driver: Any) -> None:
        if driver is None or not self._told:
            return
        driver.set_trace_callback(None)
        driver.set_progress_handler(None, 0)
        told, self._told = self._told, []
        for statement, steps in told:
            rows = driver.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            plan = "\n".join(f"  {row[3]}" for row in rows)
            self._recorder.asked.append(Asked(statement, steps, plan))

    def _began(self, statement: str) -> None:
        if _OURS.match(statement):
            self._told.append([statement, 0])

    def _went_on(self) -> None:
        if self._told:
            self._told[-1][1] += _TICK


class _Postgresql:
    def __init__(self, recorder: Recorder) -> None:
        class Cursor(psycopg.Cursor):
            def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
                if recorder.is_on and isinstance(query, str) and _OURS.match(query):
                    recorder.asked.append(self._explained(query, params))
                return super().execute(query, params, **options)

            def _explained(self, query: str, params: Any) -> Asked:
                super().execute("SAVEPOINT looked_at")
                super().execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", params)
                [(found,)] = self.fetchall()
                super().execute("ROLLBACK TO SAVEPOINT looked_at")
                nodes = list(_nodes(found[0]["Plan"], 1))
                plan = "\n".join(f"{'  ' * depth}{_words(node)}" for depth, node in nodes)
                return Asked(query, sum(_rows(node) for _, node in nodes), plan)

        self._cursor = Cursor

    def attach(self, driver: Any) -> None:
        driver.cursor_factory = self._cursor

    def detach(self, driver: Any) -> None:
        pass


def _nodes(node: dict[str, Any], depth: int) -> Iterator[tuple[int, dict[str, Any]]]:
    yield depth, node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner, depth + 1)


def _rows(node: dict[str, Any]) -> int:
    if node["Node Type"] == "ModifyTable" or not {"Relation Name", "Index Name"} & node.keys():
        return 0
    rows = node["Actual Rows"] + sum(node.get(each, 0) for each in _REMOVED)
    return round(rows * node["Actual Loops"])


def _words(node: dict[str, Any]) -> str:
    told = ("Node Type", "Relation Name", "Index Name", "Index Cond", "Filter")
    return ", ".join([*(str(node[each]) for each in told if each in node), f"{_rows(node)} rows"])


def fill(database: Database, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Store rows in the quickest way; columns that a row does not have are empty."""
    rows = list(rows)
    names = sorted({name for row in rows for name in row})
    columns = ", ".join(names)
    with database.write() as connection:
        driver: Any = connection.connection.driver_connection
        if database.dialect == "sqlite":
            marks = ", ".join("?" * len(names))
            driver.executemany(
                f"INSERT INTO {table.name} ({columns}) VALUES ({marks})",
                [[_plain(row.get(name)) for name in names] for row in rows],
            )
            return
        with driver.cursor().copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row([row.get(name) for name in names])


def _plain(value: Any) -> Any:
    return sqlite_time(value) if hasattr(value, "isoformat") else value


@contextmanager
def without(database: Database, index: Any) -> Iterator[None]:
    """Have a database without one of its indexes for a while."""
    with database.write() as connection:
        index.drop(connection)
    try:
        yield
    finally:
        with database.write() as connection:
            index.create(connection)


def too_much(database: Database, asked: Sequence[Asked]) -> list[Asked]:
    """Return the statements that read more than any of ours may."""
    return [each for each in asked if each.read > MOST[database.dialect]]
