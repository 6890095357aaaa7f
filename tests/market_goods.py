"""What can be written at the market: lists of goods with keys, versions, batches and a log."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

LOST = (None, None)
"""The answer that never comes: what was asked for was done."""


@dataclass
class Goods:
    """One list.

    Attributes:
        is_keyed: What comes with a key that was seen is answered as the first was.
        compares: A change has to name the version that it rests on.
        is_unique: No name is given twice. Else whatever is made twice is there twice.
        records: Key to record.
        log: Key, time and record or None of each change.
        lose: The answers to so many of the next writes are lost.
        refuse: What the next writes are answered instead of being done.
        done: What was really done: kind and name, or key, to how often.
        clock: The market's time.
    """

    is_keyed: bool = False
    compares: bool = False
    is_unique: bool = False
    records: dict[str, dict] = field(default_factory=dict)
    log: list[tuple[str, float, dict | None]] = field(default_factory=list)
    lose: int = 0
    refuse: list[tuple[int, dict]] = field(default_factory=list)
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    batches: list[int] = field(default_factory=list)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    page_size: int = 100
    lock: threading.RLock = field(default_factory=threading.RLock)
    _answers: dict[str, tuple[int, dict]] = field(default_factory=dict)
    _made: int = 0

    def names(self) -> list[str]:
        return sorted(record["name"] for record in self.records.values())

    def put(self, key: str, **fields) -> None:
        """Change a record as its owner does, at the provider."""
        with self.lock:
            new = {"id": key, "name": key, "email": None, "ref": "", "version": 0}
            self._keep(self.records.get(key, new) | fields)

    def remove(self, key: str) -> None:
        with self.lock:
            del self.records[key]
            self.log.append((key, self._now(), None))

    def answer(self, method: str, rest: list[str], query: dict[str, str], body: bytes):
        with self.lock:
            if method == "GET":
                return self._read(rest, query)
            if self.refuse:
                return self.refuse.pop(0)
            given = json.loads(body) if body else {}
            if rest == ["batch"]:
                self.batches.append(len(given["operations"]))
                said = [
                    (421, {})  # not in company
                    if each["payload"].get("name", "").startswith("solo")
                    else self._change(**each)
                    for each in given["operations"]
                ]
                answer = 200, {"results": [{"status": code, "body": what} for code, what in said]}
            else:
                kind = {"POST": "create", "PATCH": "update", "DELETE": "delete"}[method]
                answer = self._change(kind, "".join(rest), given, **query)
            if self.lose:
                self.lose -= 1
                return LOST
            return answer

    def _change(self, kind, key="", payload=None, *, requestid="", **given):
        """Change a record; a key that was seen gets the first answer, a refusal too."""
        if self.is_keyed and requestid and requestid in self._answers:
            return self._answers[requestid]
        answer = self._changed(kind, key, payload or {}, **given)
        self._answers[requestid] = answer
        return answer

    def _changed(self, kind, key, payload, ref="", version=""):
        if "!" in payload.get("name", ""):
            return 400, {"error": "Name: no exclamation marks, please"}
        if kind == "create":
            if self.is_unique and payload["name"] in self.names():
                return 409, {"error": f"Duplicate Name Exists: {payload['name']}"}
            self._made += 1
            self.done[kind, payload["name"]] += 1
            record = {"id": f"g{self._made:05d}", "email": None, "version": 0, "ref": ref}
            return 200, self._keep(record | payload)
        if key not in self.records:
            return 404, {"error": f"there is no {key}"}
        if self.compares and str(self.records[key]["version"]) != version:
            return 409, {"error": "Stale Object Error: you and Bob were working on this"}
        self.done[kind, key] += 1
        if kind == "delete":
            self.remove(key)
            return 204, {}
        return 200, self._keep(self.records[key] | payload)

    def _keep(self, record: dict) -> dict:
        record = record | {"version": record["version"] + 1, "changed": self._now()}
        self.records[record["id"]] = record
        self.log.append((record["id"], record["changed"], record))
        return record

    def _read(self, rest: list[str], query: dict[str, str]):
        if rest == ["changes"]:
            found = [each for each in self.log if each[1] >= float(query["since"])]
            return 200, {"changes": found}
        if rest:
            record = self.records.get(rest[0])
            return (404, {"error": f"there is no {rest[0]}"}) if record is None else (200, record)
        if "ref" in query:
            return 200, {
                "things": [
                    each for each in self.records.values() if each.get("ref") == query["ref"]
                ]
            }
        keys = sorted(key for key in self.records if key > query.get("after", ""))
        page = [self.records[key] for key in keys[: self.page_size]]
        more = len(keys) > self.page_size
        return 200, {"things": page, "next": page[-1]["id"] if more else None}

    def _now(self) -> float:
        return float(int(self.clock().timestamp()))


def new_goods() -> dict[str, Goods]:
    """The lists that the market's plugin writes."""
    return {
        "keyed": Goods(is_keyed=True, compares=True),
        "plain": Goods(),
        "bulk": Goods(is_keyed=True, compares=True),  # but it ignores the keys in a batch
    }
