"""Files of records: whole or not there, one row a record, nothing lost in a type."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from marshmallow import fields

from kit import make_bench, names
from servers import plain_environ
from tieline.contract import Page, RecordSchema, SettingsError, Whole
from tieline.errors import InvalidInputError, NotFoundError
from tieline.services import exports
from tieline.services.records import all_records

FIELDS = {
    "id": fields.String(required=True),
    "text": fields.String(),
    "size": Whole(),
    "rate": fields.Float(),
    "amount": fields.Decimal(),
    "is_open": fields.Boolean(),
    "at": fields.DateTime(),
    "day": fields.Date(),
    "address": fields.Dict(),
    "tags": fields.List(fields.Raw()),
}
FACTS = ["_id", "_changed_at", "_deleted_at", "_position", "_revision"]
PLAIN = {
    "id": "a",
    "text": "x",
    "size": 7,
    "rate": 1.5,
    "amount": "12.50",
    "is_open": True,
    "at": "2024-01-01T10:00:00.123456+02:00",
    "day": "2024-02-29",
    "address": {"city": "Ulm", "zip": None},
    "tags": ["b", 1],
}
# What the schema promised, and what came all the same.
ODD = {
    "id": "b",
    "text": 5,
    "size": 2**70,
    "rate": 2**60 + 1,
    "amount": "a lot",
    "is_open": "yes",
    "at": "2024-01-01T10:00:00.123456789Z",
    "day": "soon",
    "address": [1],
    "tags": {},
    "unnamed": 1,
}


@pytest.fixture
def bench(sqlite_url, tmp_path):
    made = make_bench(sqlite_url, tmp_path)
    plugin = made.engine.registry.get("shelf")
    declared = RecordSchema.from_dict(FIELDS)()
    yield_schema = replace(plugin.entities["items"], schema=declared)
    made.declare = lambda: plugin.entities.update(items=yield_schema)
    yield made
    made.installation.close()


def put(bench, *records: dict) -> None:
    """Store records, whatever the schema says of them, and then declare that."""
    bench.shelf.faults[bench.shelf.requests + 1] = lambda shelf, after: Page(
        records=list(records), next=None
    )
    assert bench.sync(allow_deletes=True).state == "succeeded"
    bench.declare()


def export(bench, path, form: str, **options) -> int:
    return exports.export_file(bench.installation, "shop", "items", path, form=form, **options)


def csv_rows(text: bytes) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text.decode(), newline=""), strict=True))


class TestCsv:
    def lines(self, bench) -> bytes:
        return b"".join(exports.csv_lines(bench.installation, "shop", "items"))

    def test_columns_are_the_schema_s_and_values_as_received(self, bench):
        put(bench, PLAIN, ODD)
        text = self.lines(bench)
        assert text.splitlines()[0].decode().split(",") == [*FIELDS, *FACTS]
        plain, odd = csv_rows(text)
        wanted = PLAIN | {"size": "7", "rate": "1.5", "is_open": "true"}
        wanted |= {"address": '{"city":"Ulm","zip":null}', "tags": '["b",1]'}
        assert {name: plain[name] for name in FIELDS} == wanted
        assert (plain["_id"], plain["_position"], plain["_revision"]) == ("a", "1", "1")
        assert plain["_deleted_at"] == ""
        assert datetime.fromisoformat(plain["_changed_at"]).tzinfo is not None
        assert (odd["size"], odd["text"], odd["tags"]) == (str(2**70), "5", "{}")

    @pytest.mark.parametrize(
        "value",
        ['a"b', "a,b", "a\nb", "a\r\nb", "a\rb", " a ", "=1+1", "\ufeffa", "a\u2028b", "é😀", "\t"],
    )
    def test_any_text_survives_the_quoting(self, bench, value):
        put(bench, {"id": "a", "text": value})
        [row] = csv_rows(self.lines(bench))
        assert row["text"] == value

    def test_empty_text_is_not_null_and_missing_fields_are(self, bench):
        put(bench, {"id": "a", "text": "", "size": None})
        line = self.lines(bench).splitlines()[1].decode()
        assert line.startswith('a,"",,,,')

    def test_what_no_text_can_hold_is_escaped_visibly(self, bench):
        put(bench, {"id": "a", "text": "a\x00b\ud83d"})
        [row] = csv_rows(self.lines(bench))
        assert row["text"] == "a␛0b␛ud83d"

    def test_tombstones_have_their_time(self, bench):
        put(bench, PLAIN, {"id": "b"})
        put(bench, PLAIN)
        rows = {row["_id"]: row for row in csv_rows(self.lines(bench))}
        assert [bool(rows[key]["_deleted_at"]) for key in ("a", "b")] == [False, True]


class TestParquet:
    @pytest.fixture(autouse=True)
    def pyarrow(self):
        self.parquet = pytest.importorskip("pyarrow.parquet")

    def table(self, bench, path, **options):
        count = export(bench, path, "parquet", **options)
        table = self.parquet.read_table(path)
        assert table.num_rows == count
        return table

    def test_columns_have_types_and_values_fit_them(self, bench, tmp_path):
        put(bench, PLAIN)
        table = self.table(bench, tmp_path / "x.parquet")
        assert {field.name: str(field.type) for field in table.schema} == {
            "id": "string",
            "text": "string",
            "size": "int64",
            "rate": "double",
            "amount": "string",
            "is_open": "bool",
            "at": "timestamp[us, tz=UTC]",
            "day": "date32[day]",
            "address": "string",
            "tags": "string",
            "_id": "string",
            "_changed_at": "timestamp[us, tz=UTC]",
            "_deleted_at": "timestamp[us, tz=UTC]",
            "_position": "int64",
            "_revision": "int64",
            "_raw": "string",
        }
        [row] = table.to_pylist()
        assert (row["size"], row["rate"], row["amount"], row["is_open"]) == (7, 1.5, "12.50", True)
        assert row["at"] == datetime(2024, 1, 1, 8, 0, 0, 123456, UTC)
        assert row["day"].isoformat() == "2024-02-29"
        assert json.loads(row["address"]) == PLAIN["address"]
        assert json.loads(row["tags"]) == PLAIN["tags"]
        assert row["_raw"] is None

    def test_what_does_not_fit_is_kept_whole_beside_the_columns(self, bench, tmp_path):
        put(bench, ODD)
        [row] = self.table(bench, tmp_path / "x.parquet").to_pylist()
        kept = json.loads(row["_raw"])
        assert kept == {name: ODD[name] for name in FIELDS if name != "id"}
        assert [row[name] for name in ("text", "size", "amount", "is_open", "day")] == [None] * 5
        assert row["at"] == datetime(2024, 1, 1, 10, 0, 0, 123456, UTC)  # cut, and whole in _raw

    def test_groups_of_rows_are_bounded(self, bench, tmp_path, monkeypatch):
        from tieline.services import parquet

        put(bench, *({"id": key, "text": "x" * 1000} for key in names(250)))
        monkeypatch.setattr(parquet, "GROUP_ROWS", 100)
        self.table(bench, tmp_path / "x.parquet")
        assert self.groups(tmp_path / "x.parquet") == [100, 100, 50]
        monkeypatch.setattr(parquet, "GROUP_BYTES", 50_000)
        self.table(bench, tmp_path / "x.parquet")
        assert max(self.groups(tmp_path / "x.parquet")) < 60

    def groups(self, path) -> list[int]:
        facts = self.parquet.ParquetFile(path).metadata
        return [facts.row_group(number).num_rows for number in range(facts.num_row_groups)]

    def test_no_record_is_a_file_too(self, bench, tmp_path):
        bench.declare()
        assert self.table(bench, tmp_path / "x.parquet").num_rows == 0


def test_without_pyarrow_the_extra_is_named(bench, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SettingsError) as caught:
        export(bench, tmp_path / "x.parquet", "parquet")
    assert "tieline[parquet]" in caught.value.hint
    assert list(tmp_path.glob("*.p*")) == []


class TestFiles:
    def test_a_file_that_is_there_is_replaced_with_its_rights_kept(self, bench, tmp_path):
        put(bench, PLAIN)
        path, link = tmp_path / "x.jsonl", tmp_path / "link"
        path.write_text("before")
        path.chmod(0o640)
        link.symlink_to(path)
        assert export(bench, link, "jsonl") == 1
        assert link.is_symlink()
        assert json.loads(path.read_text())["payload"] == PLAIN
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert list(tmp_path.glob(".tieline-*")) == []

    def test_live_leaves_tombstones_out(self, bench, tmp_path):
        put(bench, PLAIN, {"id": "b"})
        put(bench, PLAIN)
        assert export(bench, tmp_path / "x.csv", "csv") == 2
        assert export(bench, tmp_path / "x.csv", "csv", with_deleted=False) == 1

    def test_an_export_that_fails_leaves_the_file_as_it_was(self, bench, tmp_path, monkeypatch):
        put(bench, PLAIN)
        path = tmp_path / "x.jsonl"
        path.write_text("before")
        with pytest.raises(NotFoundError):
            exports.export_file(bench.installation, "shop", "nothing", path)
        monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "no space")))
        with pytest.raises(Exception, match="no space"):
            export(bench, path, "jsonl")
        assert path.read_text() == "before"
        assert list(tmp_path.glob(".tieline-*")) == []

    @pytest.mark.parametrize("name", ["no/such/folder/x", ".", "fifo", "x" * 300])
    def test_what_cannot_be_a_file_is_told(self, bench, tmp_path, name):
        put(bench, PLAIN)
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(InvalidInputError):
            export(bench, tmp_path / name, "jsonl")
        assert list(tmp_path.glob(".tieline-*")) == []

    @pytest.mark.parametrize(
        ("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
    )
    def test_a_killed_export_leaves_no_half_file(self, bench, tmp_path, sign, code):
        put(bench, *({"id": key, "text": "x" * 4000} for key in names(2000)))
        path = tmp_path / "x.jsonl"
        slow = (
            "import os, time; real = os.fsync; from tieline.cli.main import main;"
            "os.fsync = lambda f: (real(f), open('written', 'w').close(), time.sleep(60));"
            f"main(['records', 'export', 'shop', 'items', '--output', {str(path)!r}])"
        )
        environ = plain_environ() | {
            "TIELINE_HOME": str(tmp_path),
            "TIELINE_DATABASE_URL": bench.installation.database_url.reveal(),
        }
        bench.installation.close()
        code_file = tmp_path / "run.py"
        code_file.write_text(SHELF_FOR_EVERYBODY + slow)
        process = subprocess.Popen([sys.executable, code_file], env=environ, cwd=tmp_path)
        try:
            until = time.monotonic() + 30
            while not (tmp_path / "written").exists():
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            process.send_signal(sign)
            assert process.wait(20) == code
        finally:
            process.kill()
            process.wait()
        assert not path.exists()
        left = len(list(tmp_path.glob(".tieline-*.part")))
        assert left == (sign == signal.SIGKILL)


SHELF_FOR_EVERYBODY = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from kit import entry_point
from tieline.registry import found
found.entry_points = lambda group: [entry_point("shelf", "shelf_plugin")]
"""


def test_a_slow_reader_keeps_its_snapshot(postgres_url, tmp_path, monkeypatch):
    """PostgreSQL takes the locks of silent processes away; an export holds none."""
    monkeypatch.setattr("tieline.services.records._CHUNK", 2)
    bench = make_bench(postgres_url, tmp_path, lease_s="1")
    with closing(bench.installation):
        bench.shelf.put("a", "b", "c", "d")
        bench.sync()
        found = all_records(bench.installation, "shop", "items")
        first = next(found).record_id
        time.sleep(6)
        rest = [record.record_id for record in found]
        assert sorted([first, *rest]) == ["a", "b", "c", "d"]
