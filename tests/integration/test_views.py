"""Views show the same on both databases: typed, and nothing where a value does not fit."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

import pytest
from marshmallow import fields

from kit import make_bench
from tieline.contract import Page, RecordSchema, Whole, parse_json
from tieline.errors import NotFoundError, RefusedError
from tieline.records.columns import NOTHING, columns_of, fit
from tieline.services import views as service
from tieline.store import schema, views
from tieline.store.view_sql import TAKEN, Kind


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    yield made
    made.installation.close()


EVERY_KIND = RecordSchema.from_dict(
    {
        "text": fields.String(),
        "whole": Whole(),
        "integer": fields.Integer(),
        "float": fields.Float(),
        "decimal": fields.Decimal(),
        "boolean": fields.Boolean(),
        "time": fields.DateTime(),
        "date": fields.Date(),
        "object": fields.Dict(),
        "array": fields.List(fields.Raw()),
        "any": fields.Raw(),
    }
)()
NUMBERS = (0, 1, -1, 7.0, -7.0, 1.5, 1e300, -1e300, 5e-324, 1e-310, 2**53, 2**63 - 1, 2**63)
NUMBERS += (-(2**63), -(2**63) - 1, 2**70, 10**400, -(10**400), 1.7976931348623157e308, 1e16, 0.1)
NUMBER_TEXTS = ("7", "-7", "007", "-0", "7.0", "12.50", "1e5", " 7", "7 ", "7\n", "٣", "+7", "0x10")
NUMBER_TEXTS += ("NaN", "Infinity", "-", "--1", "1.2.3", "1.", ".5", "1_000", "9" * 18, "9" * 19)
NUMBER_TEXTS += ("9" * 31, "9" * 32, "0." + "3" * 29)
DAYS = ("2024-02-29", "2023-02-29", "2000-02-29", "1900-02-29", "2023-02-30", "2024-04-31")
DAYS += ("2024-01-31", "0000-01-01", "0001-01-01", "9999-12-31", "2024-13-01", "2024-00-10")
DAYS += ("2024-1-1", "20240101", "2024-01-00", "2024-W01-1", "infinity", "now", "epoch", "today")
CLOCKS = ("T10:00:00Z", " 10:00:00Z", "T10:00:00", "T10:00:00+05:30", "T10:00:00-14:59", "T10:00Z")
CLOCKS += ("T10:00:00+15:00", "T10:00:00.5Z", "T10:00:00.1234567Z", "T23:59:59.999999999+00:00")
CLOCKS += ("T24:00:00Z", "T23:59:60Z", "T10:00:00,5Z", "T10:00:00.Z", "T10:00:00z", "t10:00:00Z")
CLOCKS += ("T10:00:00Z\n", "T10:00:00 Z", "T10:00:00+0530", "T10:00:00+05", "T10:60:00Z", "T")
EDGES = ("9999-12-31T23:59:59-05:00", "9999-12-31T10:00:00-05:00", "9999-12-31T23:59:59Z")
EDGES += ("0001-01-01T00:00:00+05:00", "0001-01-01T10:00:00+05:00", "0001-01-01T00:00:00Z")
TEXTS = ("", "a", "a\x00b", "␛", "\ud83d", "😀", "it's", 'a"b', "%s %(x)s :x ?", "\\", "null")
TEXTS += ("true", "{}", "x" * 70_000)
OTHERS = (None, True, False, {}, {"a": [1, {"b": None}]}, {'a"': "\x00"}, [], [1, "x", None])
VALUES = (*NUMBERS, *NUMBER_TEXTS, *DAYS, *EDGES, *TEXTS, *OTHERS)
VALUES += tuple(f"2024-05-06{clock}" for clock in CLOCKS)


def put(bench, records: list[dict]) -> None:
    bench.shelf.faults[bench.shelf.requests + 1] = lambda shelf, after: Page(
        records=records, next=None
    )
    assert bench.sync(allow_deletes=True).state == "succeeded"


def rows(bench, name: str, shown: str = "*") -> list[dict]:
    with bench.database.read() as connection:
        found = connection.exec_driver_sql(f'SELECT {shown} FROM "{name}" ORDER BY record_id')
        return [dict(row) for row in found.mappings()]


def make_view(bench, declared, **options):
    wanted = views.define_view(
        bench.database.dialect, "shelf", "items", columns_of(declared, taken=TAKEN)
    )
    with bench.database.write() as connection:
        return views.put_view(
            connection, wanted, with_deleted=False, now=bench.clock.now(), **options
        )


def as_python(value, kind: Kind):
    """Read what a database shows: SQLite has neither booleans nor times nor JSON."""
    if value is None:
        return None
    if kind is Kind.BOOLEAN:
        return bool(value)
    if kind is Kind.TIME and isinstance(value, str):
        return datetime.fromisoformat(value)
    if kind is Kind.DATE and isinstance(value, str):
        return date.fromisoformat(value)
    if kind in {Kind.OBJECT, Kind.ARRAY, Kind.ANY} and isinstance(value, str):
        return json.loads(value)
    return value


def shown(value, wanted, kind: Kind, dialect: str) -> bool:
    if dialect == "sqlite" and kind is Kind.ANY and isinstance(wanted, int):
        return value == wanted or abs(wanted) >= 2**63  # it has no larger ones
    if dialect == "sqlite" and kind is Kind.ANY and isinstance(wanted, float):
        return value == pytest.approx(wanted, rel=1e-15)  # it writes the last digit as it likes
    if kind is Kind.DECIMAL and wanted is not None:
        if dialect == "sqlite":
            if abs(Decimal(wanted)) > Decimal("1.8e308"):
                return value is None  # it has none beyond floats
            return float(value) == float(Decimal(wanted))
        return value == Decimal(wanted)
    if kind is Kind.FLOAT and wanted is not None:
        return isinstance(value, float) and value == pytest.approx(wanted, rel=1e-15)
    return type(value) is type(wanted) and value == wanted


def test_both_databases_show_of_every_value_what_fits_and_nothing_else(bench):
    columns = columns_of(EVERY_KIND, taken=TAKEN)
    keys = [column.key for column in columns]
    put(
        bench,
        [
            {"id": f"{number:04}", **dict.fromkeys(keys, value)}
            for number, value in enumerate(VALUES)
        ],
    )
    make_view(bench, EVERY_KIND)
    stored = {
        record.record_id: parse_json(record.payload.encode()) for record in bench.stored("items")
    }
    texts = [f'CAST("{name}" AS text) AS "{name}"' for name in ("object", "array", "any")]
    plain = [f'"{key}"' for key in keys if key not in {"object", "array", "any"}]
    found = rows(bench, "shelf_items", ", ".join(["record_id", *plain, *texts]))
    assert len(found) == len(VALUES)
    wrong = []
    for row in found:
        payload = stored[row["record_id"]]
        for column in columns:
            wanted = fit(column, payload[column.key])
            wanted = None if wanted is NOTHING else wanted
            value = as_python(row[column.name], column.kind)
            if not shown(value, wanted, column.kind, bench.database.dialect):
                wrong.append((column.kind, payload[column.key], value, wanted))
    assert wrong == []


HOSTILE = ('a"b', "a'b", "100%", "%(x)s", ":name", "a\\b", "a.b", "$", "$.x", "", " ", "é😀", "[0]")
HOSTILE += (
    "tab\t",
    "line\n",
    "NUL\x00",
    "select",
    "?",
    "--",
    "/*",
    "*/",
    "Same",
    "same",
    "x" * 200,
)
HOSTILE += ("connection", "record_id", "position", "DELETED_AT", "id")


def test_a_field_may_have_any_name(bench):
    declared = RecordSchema.from_dict(
        {f"f{number}": fields.Integer(data_key=key) for number, key in enumerate(HOSTILE)}
    )()
    record = {key: number for number, key in enumerate(HOSTILE)}
    put(bench, [record | {"id": "a"}])
    make_view(bench, declared)
    [row] = rows(bench, "shelf_items")
    columns = columns_of(declared, taken=TAKEN)
    values = [row[column.name] for column in columns]
    assert values == [*range(len(HOSTILE) - 1), None]
    assert (row["connection"], row["record_id"], row["position"]) == ("shop", "a", 1)
    assert row["deleted_at"] is None


def test_the_columns_have_the_database_s_own_types(postgres_url, tmp_path):
    """SQLite's views have no declared types."""
    bench = make_bench(postgres_url, tmp_path)
    make_view(bench, EVERY_KIND)
    with closing(bench.installation), bench.database.read() as connection:
        found = connection.exec_driver_sql(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_name = 'shelf_items' ORDER BY ordinal_position"
        ).all()
    assert dict(map(tuple, found)) == {
        "connection": "character varying",
        "record_id": "character varying",
        "text": "text",
        "whole": "bigint",
        "integer": "bigint",
        "float": "double precision",
        "decimal": "numeric",
        "boolean": "boolean",
        "time": "timestamp with time zone",
        "date": "date",
        "object": "jsonb",
        "array": "jsonb",
        "any": "jsonb",
        "changed_at": "timestamp with time zone",
        "deleted_at": "timestamp with time zone",
        "position": "bigint",
    }


def test_tombstones_show_in_the_second_view_alone(bench):
    bench.shelf.put("a", "b", "c", "d")
    bench.sync()
    del bench.shelf.records["b"]
    bench.sync(allow_deletes=True)
    made = service.create_views(bench.installation, "shelf", "items", with_deleted=True)
    assert made.done == [("shelf_items", "created")]
    assert [row["record_id"] for row in rows(bench, "shelf_items")] == ["a", "c", "d"]
    everything = {row["record_id"]: row for row in rows(bench, "shelf_items_all")}
    assert sorted(everything) == ["a", "b", "c", "d"]
    assert [key for key, row in everything.items() if row["deleted_at"]] == ["b"]
    assert everything["a"]["name"] == "name of a"


def change_schema(bench, **more) -> None:
    plugin = bench.engine.registry.get("shelf")
    declared = RecordSchema.from_dict({"id": fields.String(required=True), **more})()
    plugin.entities["items"] = replace(plugin.entities["items"], schema=declared)


def states(bench) -> dict[str, str]:
    return {each.row.name: each.state for each in service.list_views(bench.installation)}


def test_views_are_listed_with_how_they_are_and_made_again_when_a_schema_changed(bench):
    installation = bench.installation
    made = service.create_views(installation)
    assert [name for name, _ in made.done] == [
        "shelf_items",
        "shelf_versioned",
        "shelf_kept",
        "shelf_measured",
    ]
    service.create_views(installation, "shelf", "items", with_deleted=True)
    assert set(states(bench).values()) == {"current"}
    change_schema(bench, name=fields.String(), size=Whole())
    with bench.database.write() as connection:
        connection.exec_driver_sql("DROP VIEW shelf_kept")
        connection.exec_driver_sql("DROP VIEW shelf_versioned")
        connection.exec_driver_sql("CREATE TABLE shelf_versioned (x int)")
    assert states(bench) == {
        "shelf_items": "stale",
        "shelf_kept": "missing",
        "shelf_measured": "current",
        "shelf_versioned": "taken",
    }
    assert service.create_views(installation, "shelf", "items").done == [
        ("shelf_items", "recreated")
    ]
    put(bench, [{"id": "a", "size": 3}])
    assert [rows(bench, name)[0]["size"] for name in ("shelf_items", "shelf_items_all")] == [3, 3]
    assert service.create_views(installation, "shelf", "items").done == [
        ("shelf_items", "unchanged")
    ]
    change_schema(bench, size=fields.String())  # a column goes, another changes its type
    service.create_views(installation, "shelf", "items")
    assert rows(bench, "shelf_items")[0]["size"] is None
    assert "name" not in rows(bench, "shelf_items")[0]
    del bench.engine.registry.get("shelf").entities["items"]
    assert states(bench)["shelf_items"] == "orphaned"


def test_a_worker_that_starts_makes_views_again_whose_schemas_changed(bench, caplog):
    service.create_views(bench.installation)
    assert service.refresh_views(bench.installation) == []
    change_schema(bench, size=Whole())
    assert service.refresh_views(bench.installation) == ["shelf_items"]
    put(bench, [{"id": "a", "size": 3}])
    assert rows(bench, "shelf_items")[0]["size"] == 3
    change_schema(bench, size=fields.String())
    with bench.database.write() as connection:
        connection.exec_driver_sql("CREATE VIEW on_top AS SELECT size FROM shelf_items")
    refreshed = service.refresh_views(bench.installation)
    if bench.database.dialect == "postgresql":  # which knows that something depends on it
        assert refreshed == []
        assert "out of date" in caplog.text
    else:
        assert refreshed == ["shelf_items"]


@pytest.mark.parametrize("kind", ["TABLE shelf_items (x int)", "VIEW shelf_items AS SELECT 1 AS x"])
def test_what_is_not_ours_is_neither_replaced_nor_dropped(bench, kind):
    with bench.database.write() as connection:
        connection.exec_driver_sql(f"CREATE {kind}")
    with pytest.raises(RefusedError) as caught:
        service.create_views(bench.installation)
    assert caught.value.slug == "view-name-taken"
    assert service.list_views(bench.installation) == []  # all or none
    made = service.create_views(bench.installation, "shelf", "kept")
    assert made.done == [("shelf_kept", "created")]
    service.drop_views(bench.installation)
    with bench.database.read() as connection:
        assert list(connection.exec_driver_sql("SELECT * FROM shelf_items").keys()) == ["x"]


def test_drop_takes_the_named_ones_and_leaves_the_records(bench):
    bench.shelf.put("a")
    bench.sync()
    service.create_views(bench.installation, with_deleted=True)
    assert service.drop_views(bench.installation, "shelf", "items") == ["shelf_items"]
    assert sorted(states(bench)) == ["shelf_kept", "shelf_measured", "shelf_versioned"]
    with pytest.raises(NotFoundError):
        service.drop_views(bench.installation, "shelf", "items")
    service.drop_views(bench.installation)
    assert states(bench) == {}
    assert service.drop_views(bench.installation) == []
    assert bench.stored_keys() == ["a"]
    with bench.database.read() as connection:
        assert schema.drift(bench.database) == []
        assert views.find_relation(connection, "shelf_items_all") is None


def test_a_long_name_is_cut_and_two_entities_never_share_one(bench):
    provider, entity = "p" * 40, "e" * 40
    names = {views.view_name(provider, entity), views.view_name(provider, entity[:-1] + "x")}
    assert len(names) == 2
    assert all(len(name) + len("_all") <= 63 for name in names)
    now = bench.clock.now()
    with bench.database.write() as connection:
        for of in ((provider, entity), ("a_b", "c")):
            wanted = views.define_view(bench.database.dialect, *of, [])
            assert views.put_view(connection, wanted, with_deleted=True, now=now) == "created"
        same = views.define_view(bench.database.dialect, "a", "b_c", [])
        with pytest.raises(RefusedError) as caught:
            views.put_view(connection, same, with_deleted=False, now=now)
    assert "a_b c" in caught.value.message


def test_a_migration_finds_no_view_in_its_way_and_leaves_them_as_they_were(bench):
    bench.shelf.put("a")
    bench.sync()
    service.create_views(bench.installation, with_deleted=True)
    with bench.database.write() as connection:
        kept = views.take_away(connection)
        assert len(kept) == 8  # two of each entity
        if bench.database.dialect == "postgresql":
            alter = "ALTER TABLE records ALTER COLUMN source TYPE text, ALTER record_id TYPE text"
            connection.exec_driver_sql(alter)
        else:  # as Alembic's batches do
            connection.exec_driver_sql("CREATE TABLE other AS SELECT * FROM records")
            connection.exec_driver_sql("DROP TABLE records")
            connection.exec_driver_sql("ALTER TABLE other RENAME TO records")
        assert views.put_back(connection, kept) == []
    assert [row["record_id"] for row in rows(bench, "shelf_items_all")] == ["a"]
    assert set(states(bench).values()) == {"current"}


def test_upgrade_and_downgrade_go_past_views(bench):
    service.create_views(bench.installation)
    schema.downgrade(bench.database, "0001")
    with bench.database.read() as connection:
        assert views.find_relation(connection, "shelf_items") == "ours"
    schema.upgrade(bench.database)
    schema.downgrade(bench.database, "base")
    assert schema.upgrade(bench.database)
    assert schema.drift(bench.database) == []


class TestOnPostgresql:
    @pytest.fixture
    def bench(self, postgres_url, tmp_path):
        made = make_bench(postgres_url, tmp_path)
        yield made
        made.installation.close()

    def run(self, bench, *statements: str):
        with bench.database.write() as connection:
            return [connection.exec_driver_sql(statement) for statement in statements]

    def test_rights_survive_a_view_s_making_anew(self, bench):
        service.create_views(bench.installation, "shelf", "items")
        role = f"reader_{bench.connection_id[-12:]}".lower()
        self.run(bench, f"CREATE ROLE {role}", f"GRANT SELECT ON shelf_items TO {role}, PUBLIC")
        try:
            change_schema(bench, size=Whole())  # the column "name" goes
            service.create_views(bench.installation, "shelf", "items")
            with bench.database.write() as connection:
                views.put_back(connection, views.take_away(connection))
            with bench.database.read() as connection:
                may = connection.exec_driver_sql(
                    f"SELECT has_table_privilege('{role}', 'shelf_items', 'SELECT'),"
                    f" has_table_privilege('{role}', 'shelf_items', 'INSERT')"
                ).one()
            assert tuple(may) == (True, False)
        finally:
            self.run(bench, f"DROP OWNED BY {role}", f"DROP ROLE {role}")

    def test_a_view_that_others_build_on_is_told_and_left_alone(self, bench):
        service.create_views(bench.installation, "shelf", "items")
        self.run(bench, "CREATE VIEW mine AS SELECT name FROM shelf_items")
        change_schema(bench, name=fields.String(), size=Whole())  # a column more is no harm
        assert service.create_views(bench.installation, "shelf", "items").done == [
            ("shelf_items", "recreated")
        ]
        change_schema(bench, size=Whole())
        for act in (service.create_views, service.drop_views):
            with pytest.raises(RefusedError) as caught:
                act(bench.installation, "shelf", "items")
            assert caught.value.slug == "view-needed"
            assert "mine" in caught.value.message
        assert states(bench) == {"shelf_items": "stale"}

    def test_a_type_of_the_same_name_is_in_the_way_too(self, bench):
        self.run(bench, "CREATE TYPE shelf_items AS ENUM ('x')")
        with pytest.raises(RefusedError) as caught:
            service.create_views(bench.installation, "shelf", "items")
        assert caught.value.slug == "view-name-taken"
