"""Fault S3: what a database says of a statement leaves the store without a value."""

from __future__ import annotations

import io
import json
import logging
import traceback

import pytest
from sqlalchemy import exc, text

import canary
from tieline.contract import Secret
from tieline.errors import DependencyError
from tieline.store.database import open_database, run_plain

CANARY = "sk_test_CANARY5c1f9e77d0"
SHOPS = """
CREATE TABLE shops (
  id integer PRIMARY KEY, name text NOT NULL, note text NOT NULL,
  CONSTRAINT one_name UNIQUE (name), CONSTRAINT short CHECK (length(note) < 80)
)
"""
ON_POSTGRESQL = [
    "CREATE TABLE typed (whole integer, facts jsonb, word varchar(3), at timestamptz)",
    """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION USING MESSAGE = NEW.word; END $$
    """,
    "CREATE TABLE refusing (word text)",
    """
    CREATE TRIGGER refuse BEFORE INSERT ON refusing
    FOR EACH ROW EXECUTE FUNCTION refuse()
    """,
]
ADD = "INSERT INTO shops (id, name, note) VALUES (:id, :name, :note)"


@pytest.fixture
def database(database_url):
    opened = open_database(Secret(database_url))
    with opened.write() as connection:
        for statement in [SHOPS, *(ON_POSTGRESQL if opened.dialect == "postgresql" else [])]:
            connection.exec_driver_sql(statement)
        connection.execute(text(ADD), {"id": 1, "name": CANARY, "note": ""})
    yield opened
    opened.close()


def by_write(database, work):
    with database.write() as connection:
        work(connection)


def by_transact(database, work):
    database.transact(work)


def by_desk(database, work):
    with database.desk() as desk:
        desk.transact(work)


WAYS = {way.__name__: way for way in (by_write, by_transact, by_desk)}


@pytest.fixture(params=WAYS)
def refused(request, database):
    """Run a statement that is refused; return the error and all that can be seen of it."""

    def run(statement, given):
        def work(connection):
            connection.execute(text(statement), given)

        return caught(lambda: WAYS[request.param](database, work))

    return run


def caught(work) -> Exception:
    with pytest.raises(Exception) as found:  # noqa: PT011 - each test looks at the class
        work()
    shown = everything_seen_of(found.value)
    assert "Traceback" in shown
    assert canary.scan(shown.encode(), {"it": CANARY}) == []
    return found.value


def everything_seen_of(error: BaseException) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    record = logging.makeLogRecord({"exc_info": (type(error), error, error.__traceback__)})
    stream.write(handler.format(record))
    parts = [str(error), repr(error), repr(error.args), repr(vars(error))]
    if (inner := getattr(error, "orig", None)) is not None:
        parts += [str(inner), repr(inner), repr(inner.args), repr(vars(inner))]
        parts += traceback.format_exception(inner)
    return "\n".join([stream.getvalue(), *traceback.format_exception(error), *parts])


VIOLATIONS = {
    "unique": ({"id": 2, "name": CANARY, "note": ""}, "23505", "one_name"),
    "primary key": ({"id": 1, "name": f"{CANARY}2", "note": ""}, "23505", "shops_pkey"),
    "not null": ({"id": 3, "name": f"{CANARY}3", "note": None}, "23502", None),
    "check": ({"id": 4, "name": f"{CANARY}4", "note": CANARY * 9}, "23514", "short"),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_violation_keeps_its_class_its_code_and_the_constraint_s_name(database, refused, case):
    given, sqlstate, constraint = VIOLATIONS[case]
    error = refused(ADD, given)
    assert type(error) is exc.IntegrityError
    assert "work" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    if database.dialect == "postgresql":
        assert (error.orig.sqlstate, error.orig.constraint) == (sqlstate, constraint)
        assert f"SQLSTATE {sqlstate}" in str(error)
        assert (constraint or "column note") in str(error)
    else:
        assert "constraint failed: " in str(error)
        assert "SQLITE_CONSTRAINT_" in str(error)


REFUSED_BY_POSTGRESQL = {
    "no whole number": ("INSERT INTO typed (whole) VALUES (CAST(:it AS integer))", "22P02"),
    "no JSON": ("INSERT INTO typed (facts) VALUES (CAST(:it AS jsonb))", "22P02"),
    "too long": ("INSERT INTO typed (word) VALUES (:it)", "22001"),
    "no time": ("INSERT INTO typed (at) VALUES (CAST(:it AS timestamptz))", "22007"),
    "no column": ("INSERT INTO typed (missing) VALUES (:it)", "42703"),
    "no table": ("INSERT INTO missing VALUES (:it)", "42P01"),
}


# SQLite takes any value in any column, and has no triggers of such words.
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@on_postgresql
@pytest.mark.parametrize("case", REFUSED_BY_POSTGRESQL)
def test_a_value_that_postgresql_quotes_is_left_out(refused, case):
    statement, sqlstate = REFUSED_BY_POSTGRESQL[case]
    error = refused(statement, {"it": CANARY})
    assert isinstance(error, exc.DBAPIError)
    assert error.orig.sqlstate == sqlstate
    assert ("missing" in str(error)) == sqlstate.startswith("42")


@on_postgresql
def test_a_trigger_s_own_words_are_left_out(refused):
    error = refused("INSERT INTO refusing VALUES (:it)", {"it": CANARY})
    assert "P0001" in str(error)


@on_postgresql
def test_what_a_json_column_cannot_hold_is_left_out(refused):
    nul = json.dumps({"a": f"{CANARY}\0"})
    error = refused("INSERT INTO typed (facts) VALUES (CAST(:it AS jsonb))", {"it": nul})
    assert error.orig.sqlstate == "22P05"


def test_a_text_that_cannot_be_encoded_is_left_out(refused):
    error = refused(ADD, {"id": 5, "name": f"{CANARY}\ud800", "note": ""})
    assert isinstance(error, (UnicodeEncodeError, exc.StatementError))


def test_a_value_that_no_driver_takes_is_left_out(refused):
    error = refused(ADD, {"id": 6, "name": {CANARY: CANARY}, "note": ""})
    assert isinstance(error, exc.StatementError)


def test_a_statement_past_sqlalchemy_is_told_of_in_the_same_way(database):
    mark = "?" if database.dialect == "sqlite" else "%s"
    statement = f"INSERT INTO shops (id, name, note) VALUES ({mark}, {mark}, {mark})"

    def work(connection):
        run_plain(connection, statement, (7, CANARY, ""))

    error = caught(lambda: by_desk(database, work))
    assert isinstance(error, exc.DBAPIError)
    assert "one_name" in str(error) or "shops.name" in str(error)


def test_a_server_that_is_away_still_says_why():
    database = open_database(Secret("postgresql://me:hunter2hunter2@127.0.0.1:1/shop"))
    with pytest.raises(DependencyError) as found, database.read():
        pass
    assert "refused" in found.value.message
    assert "hunter2" not in everything_seen_of(found.value)
    database.close()
