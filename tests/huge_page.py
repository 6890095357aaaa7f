"""Store one page of 100,000 records in a process of its own; print how much memory that took.

    python huge_page.py DATABASE_URL FOLDER

The page comes as bytes and is parsed once, as a page from a provider is.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import orjson

from kit import make_bench
from tieline.contract import Page, parse_json

RECORDS = 100_000


def main(database_url: str, folder: Path) -> None:
    bench = make_bench(database_url, folder / "home")
    body = folder / "body.json"
    with body.open("wb") as file:
        for number in range(RECORDS):
            file.write(b",\n" if number else b'{"data": [\n')
            file.write(orjson.dumps(record(number)))
        file.write(b"]}")
    bench.shelf.faults[1] = lambda _shelf, _after: Page(
        records=parse_json(body.read_bytes())["data"], next=None
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = bench.sync()
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    bench.database.close()
    sys.stdout.buffer.write(
        orjson.dumps(
            {"state": run.state, "created": run.counts.created}
            | {"body_mb": body.stat().st_size / 1e6, "grown_mb": grown_mb}
        )
    )


def record(number: int) -> dict[str, object]:
    return {
        "id": f"i{number:06}",
        "name": f"name {number}",
        "email": f"person{number}@example.com",
        "created": 1_700_000_000 + number,
        "balance": number,
        "currency": "eur",
        "description": "what somebody wrote of it",
        "metadata": {},
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
