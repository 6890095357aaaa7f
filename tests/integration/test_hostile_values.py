"""Fault V20: whatever a provider sends has the same outcome on both databases."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from kit import Bench, make_bench
from tieline.contract import Page, parse_json
from tieline.records import canonical
from tieline.services import exports, quarantine
from tieline.services import records as record_service
from tieline.store import findings, quarantined
from tieline.store import records as store

LARGEST = 16_000_000


def levels(depth: int, end: str = "1") -> str:
    return "[" * depth + end + "]" * depth


def mappings(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


# Body text of one record, of which "x" is the value; parsed as a body is.
VALUES = {
    "NUL": r'"a\u0000b"',
    "NUL in a key": r'{"a\u0000b":1}',
    "lone high surrogate": r'"\ud83d!"',
    "lone low surrogate": r'["\udc00"]',
    "surrogate in a key": r'{"\ud83d":{"\udfff":1}}',
    "the escape sign": '"␛ and ␛0 and ␛␛"',
    "the escape sign and NUL": r'"␛\u0000␛0"',
    "wrong bytes": b'"\xff\xfe"',
    "overlong bytes": b'"\xc0\x80"',
    "NaN": "NaN",
    "Infinity": "[Infinity]",
    "-Infinity": '{"y":-Infinity}',
    "1e400": "1e400",
    "-1e400": "[-1e400]",
    "1e308": "1e308",
    "5e-324": "5e-324",
    "1e22": "1e22",
    "-0.0": "-0.0",
    "fractions": "[1.0,0.1,1e-8,0.30000000000000004]",
    "2^63": str(2**63),
    "-2^63 - 1": str(-(2**63) - 1),
    "2^64": str(2**64),
    "2^70": str(2**70),
    "400 digits": "7" * 400,
    "4,300 digits": "7" * 4300,
    "5,000 digits": "7" * 5000,
    "249 levels": levels(249),
    "250 levels": levels(250),
    "300 levels": levels(300),
    "250 mappings": mappings(250),
    "249 mappings": mappings(249),
    "twice the same key": '{"k":1,"k":2}',
    "an empty key": '{"":{"":0}}',
    "keys that are methods": '{"items":1,"keys":2,"get":3,"__class__":4}',
    "true is not 1": "[true,1,false,0,null]",
    "emoji": '"😀👩\u200d👩\u200d👧"',
    "right to left": '"שלום \u202eabc\u202c"',
    "line separators": '"a\u2028b\u2029c\u0085d"',
    "control characters": r'"\u0001\u001b[31m\u007f\r\n\t"',
    "formula": '"=HYPERLINK(\\"http://x\\")"',
    "same to eyes, not to bytes": '["é","e\u0301"]',
    "5 MB": '"' + "x" * 5_000_000 + '"',
    "largest": '"' + "x" * (LARGEST - len('{"id":"largest","x":""}')) + '"',
    "too large": '"' + "x" * (LARGEST + 1 - len('{"id":"too large","x":""}')) + '"',
    "NULs grow": '"' + r"\u0000" * 1_000_000 + '"',
    "many keys": json.dumps({f"k{n}": n for n in range(20_000)}),
    "empty": "{}",
}
BAD = {
    **dict.fromkeys(("NaN", "Infinity", "-Infinity", "1e400", "-1e400"), "record-not-finite"),
    "5,000 digits": "record-not-finite",
    **dict.fromkeys(("250 levels", "300 levels", "250 mappings"), "record-too-deep"),
    "too large": "record-too-large",
    **dict.fromkeys(("wrong-number", "wrong-list"), "record-schema"),
    **dict.fromkeys(("wrong-set", "wrong-bytes"), "record-not-json"),
    "12": "record-schema",  # the key can be used, and the schema promises text
}
# Records that are wrong as such.
WRONG: dict[str, Any] = {
    "no key": {"name": "x"},
    "null": None,
    "number": 5,
    "text": "id",
    "list": [{"id": "a"}],
    "true": True,
    "nothing": {},
    "null as key": {"id": None},
    "empty text as key": {"id": ""},
    "true as key": {"id": True},
    "fraction as key": {"id": 1.5},
    "object as key": {"id": {"id": "a"}},
    "number as key": {"id": 12},
    "endless number as key": {"id": 10**300},
    "256 characters as key": {"id": "k" * 256},
    "255 wide characters as key": {"id": "😀" * 255},
    "NUL in the key": {"id": "a\x00"},
    "surrogate in the key": {"id": "\ud800"},
    "line break in the key": {"id": "a\n"},
    "quotes in the key": {"id": "a'\"\\%s$1?"},
    "number as name": {"id": "wrong-number", "name": 5},
    "list as name": {"id": "wrong-list", "name": ["\x00", "\ud800"]},
    "a set": {"id": "wrong-set", "x": {1}},
    "bytes": {"id": "wrong-bytes", "x": b"\x00\xff"},
}


def content(text: str | bytes) -> Any:
    """Read JSON with numbers by their value: ``jsonb`` writes 1e22 as 23 digits."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def all_of_them() -> list[Any]:
    found = []
    for name, value in VALUES.items():
        text = value if isinstance(value, bytes) else value.encode()
        found.append(parse_json(b'{"id":%b,"x":%b}' % (json.dumps(name).encode(), text)))
    return [*found, *WRONG.values(), {"id": "plain"}]


@pytest.fixture
def both(sqlite_url, postgres_url, tmp_path):
    made = []
    for name, url in (("sqlite", sqlite_url), ("postgresql", postgres_url)):
        (tmp_path / name).mkdir()
        made.append(make_bench(url, tmp_path / name, max_quarantine_share="1"))
    yield made
    for bench in made:
        bench.installation.close()


def bring(bench: Bench, mode: str = "full"):
    bench.shelf.requests = 0
    bench.shelf.faults[1] = lambda shelf, after: Page(records=all_of_them(), next=None)
    return bench.sync(mode=mode)


def kept(bench: Bench) -> list[tuple]:
    with bench.database.read() as connection:
        rows = quarantined.list_quarantined(connection, bench.connection_id, limit=1000)
    names = ("record_id", "reason_code", "reason", "raw", "fingerprint", "rank")
    return sorted((tuple(row[name] for name in names) for row in rows), key=repr)


def stored(bench: Bench) -> dict[str, tuple]:
    """Return what stands of each record: hash, content, and whether it was escaped."""
    found = {}
    with bench.database.read() as connection:
        for one in bench.stored():
            known = store.read_known(connection, bench.connection_id, "items", [one.record_id])
            shown = record_service.get_record(
                bench.installation, "shop", "items", one.record_id
            ).payload
            found[one.record_id] = (known[0][1], one.is_escaped, one.position, content(shown))
    return found


def test_every_hostile_value_has_the_same_outcome_on_both_databases(both):
    runs = [bring(bench) for bench in both]
    sqlite, postgresql = (stored(bench) for bench in both)
    assert sqlite == postgresql
    assert kept(both[0]) == kept(both[1])
    assert runs[0].counts == runs[1].counts
    assert runs[0].state == "succeeded_with_quarantine"
    # Each is accounted for, and what stands is what was sent.
    sent = all_of_them()
    assert len(sqlite) + len(kept(both[0])) == len(sent) == runs[0].counts.seen
    for record in sent:
        if isinstance(record, dict) and (key := str(record.get("id"))) in sqlite:
            assert sqlite[key][3] == content(json.dumps(record)), key
            assert sqlite[key][0] == canonical(record).digest
    assert "plain" in sqlite
    named = {row[0]: row[1] for row in kept(both[0]) if row[0] is not None}
    assert named == BAD
    nameless = [row[1] for row in kept(both[0]) if row[0] is None]
    assert set(nameless) == {"record-key", "record-not-object"}
    assert len(nameless) == 17


def test_they_export_show_verify_and_retry_alike(both):
    lines, cells, tried, again = [], [], [], []
    for bench in both:
        bring(bench)
        found = map(content, record_service.export_records(bench.installation, "shop", "items"))
        lines.append({line["id"]: line for line in found})
        cells.append(list(exports.csv_lines(bench.installation, "shop", "items")))
        bench.clock.move(60)
        run = bring(bench, mode="verify")
        with bench.database.read() as connection:
            again.append(findings.list_findings(connection, run.id, limit=10))
        chosen = quarantine.choose(bench.installation, connection="shop")
        found = quarantine.retry(bench.installation, chosen, actor="test")
        tried.append(sorted((str(each.record_id), each.became, each.reason) for each in found))
        assert bring(bench, mode="repair").counts.unchanged == len(lines[0])
    assert lines[0] == lines[1]
    assert cells[0] == cells[1]
    assert again == [[], []]
    assert tried[0] == tried[1]
    assert {became for _, became, _ in tried[0]} == {"bad"}
