"""The query language: ``SELECT * FROM Customer WHERE … ORDERBY … STARTPOSITION … MAXRESULTS …``.

Only AND, ``*`` and ``COUNT(*)``; names and words in any case; 100 rows unless
asked otherwise, 1,000 at most; ``Id`` knows ``=`` and ``IN`` alone. What is not
said of the language here is refused, as the true one refuses it.

Source:
    Intuit, "Query operations and syntax".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tieline_quickbooks_sandbox.clock import PACIFIC

__all__ = ["CHANGED", "CREATED", "Condition", "Query", "QueryError", "parse", "read_time"]

CREATED = "MetaData.CreateTime"
CHANGED = "MetaData.LastUpdatedTime"
_MOST = 1000
_USUAL = 100

_COMMON = ("Id", "SyncToken", CREATED, CHANGED)
_PROPERTIES = {
    "Customer": (
        *_COMMON, "Active", "DisplayName", "FullyQualifiedName", "GivenName", "FamilyName",
        "CompanyName", "Balance", "Job", "Taxable", "Level", "Notes",
    ),
    "Invoice": (
        *_COMMON, "DocNumber", "TxnDate", "DueDate", "CustomerRef", "TotalAmt", "Balance",
        "EmailStatus", "PrintStatus", "PrivateNote",
    ),
}  # fmt: skip
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:\\.|[^'\\])*')
      | (?P<number>-?\d+(?:\.\d+)?(?![\w.]))
      | (?P<word>[A-Za-z][\w.]*)
      | (?P<sign><=|>=|<>|[=<>,()*])
    )""",
    re.VERBOSE | re.DOTALL,
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda found, wanted: found == wanted,
    "<": lambda found, wanted: found < wanted,
    ">": lambda found, wanted: found > wanted,
    "<=": lambda found, wanted: found <= wanted,
    ">=": lambda found, wanted: found >= wanted,
}


class QueryError(Exception):
    """The query cannot be understood.

    Args:
        code: Intuit's: 4000 for its form, 4001 for what it names.
        words: What is wrong.
    """

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of a query.

    Attributes:
        name: The property, as Intuit writes it.
        sign: ``=``, ``<``, ``>``, ``<=``, ``>=``, ``IN`` or ``LIKE``.
        values: What it is compared with; several for ``IN`` alone.
    """

    name: str
    sign: str
    values: tuple[Any, ...]

    def holds(self, found: Any) -> bool:
        """Whether a value meets the condition; texts are compared in any case."""
        if found is None:
            return False
        found = _comparable(found)
        if self.sign == "IN":
            return found in self.values
        if self.sign == "LIKE":
            pattern = ".*".join(map(re.escape, str(self.values[0]).split("%")))
            return re.fullmatch(pattern, str(found), re.DOTALL) is not None
        try:
            return _COMPARE[self.sign](found, self.values[0])
        except TypeError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query that was understood.

    Attributes:
        kind: ``Customer`` or ``Invoice``.
        is_count: It asks how many there are.
        conditions: All have to hold.
        order: Properties, and whether each is descending.
        start: The first row that is wanted, from 1.
        limit: How many are wanted.
    """

    kind: str
    is_count: bool
    conditions: tuple[Condition, ...]
    order: tuple[tuple[str, bool], ...]
    start: int = 1
    limit: int = _USUAL


def parse(text: str) -> Query:
    """Understand a query.

    Raises:
        QueryError: It is none, or names what is not there.
    """
    return _Parser(text).query()


def read_time(text: str) -> float | None:
    """Read a time as seconds since the epoch; one without a zone is the company's."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=PACIFIC)).astimezone(UTC).timestamp()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._place = 0
        self._kind = ""

    def query(self) -> Query:
        self._word("SELECT")
        is_count = self._is("COUNT")
        for sign in ("(", "*", ")") if is_count else ("*",):
            self._sign(sign)
        self._word("FROM")
        self._kind = self._named(self._take("word"), tuple(_PROPERTIES), "Entity")
        conditions = tuple(self._conditions()) if self._is("WHERE") else ()
        order = tuple(self._order()) if self._is_order() else ()
        start = self._number("STARTPOSITION", 1, None)
        limit = self._number("MAXRESULTS", _USUAL, _MOST)
        if self._place < len(self._tokens):
            raise self._wrong()
        return Query(
            kind=self._kind,
            is_count=is_count,
            conditions=conditions,
            order=order,
            start=start,
            limit=limit,
        )

    def _conditions(self) -> Iterator[Condition]:
        while True:
            name = self._property()
            sign = "IN" if self._is("IN") else "LIKE" if self._is("LIKE") else self._take("sign")
            if sign not in {"IN", "LIKE", *_COMPARE}:
                raise self._wrong()
            if name == "Id" and sign not in {"=", "IN"}:
                raise QueryError("4001", f"operator {sign} is not supported for property Id")
            yield Condition(name=name, sign=sign, values=self._values(name, sign))
            if not self._is("AND"):
                return

    def _values(self, name: str, sign: str) -> tuple[Any, ...]:
        if sign != "IN":
            return (self._value(name),)
        self._sign("(")
        values = [self._value(name)]
        while self._has("sign", ","):
            values.append(self._value(name))
        self._sign(")")
        return tuple(values)

    def _value(self, name: str) -> Any:
        kind, text = self._next()
        if kind == "text":
            value = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
            if name not in {CREATED, CHANGED}:
                return _comparable(value)
            if (time := read_time(value)) is None:
                raise QueryError("4001", f"invalid value for property {name}")
            return time
        if kind == "word" and text.lower() in {"true", "false"}:
            return text.lower() == "true"
        if kind == "number":
            return float(text)
        raise self._wrong()

    def _order(self) -> Iterator[tuple[str, bool]]:
        while True:
            name = self._property()
            is_down = self._is("DESC")
            if not is_down:
                self._is("ASC")
            yield name, is_down
            if not self._has("sign", ","):
                return

    def _is_order(self) -> bool:
        if self._is("ORDER"):
            self._word("BY")
            return True
        return self._is("ORDERBY")

    def _number(self, word: str, usual: int, most: int | None) -> int:
        if not self._is(word):
            return usual
        text = self._take("number")
        if not text.isdigit() or int(text) < 1:
            raise QueryError("4001", f"{word} must be 1 or more")
        if most is not None and int(text) > most:
            raise QueryError("4001", f"value {text} is too large. Max allowed value is {most}")
        return int(text)

    def _property(self) -> str:
        return self._named(self._take("word"), _PROPERTIES[self._kind], "Property")

    @staticmethod
    def _named(word: str, known: Sequence[str], what: str) -> str:
        for each in known:
            if each.lower() == word.lower():
                return each
        raise QueryError("4001", f"{what} {word} not found")

    def _next(self) -> tuple[str, str]:
        if self._place >= len(self._tokens):
            raise self._wrong()
        self._place += 1
        return self._tokens[self._place - 1]

    def _take(self, kind: str) -> str:
        found, text = self._next()
        if found != kind:
            self._place -= 1
            raise self._wrong()
        return text

    def _has(self, kind: str, text: str) -> bool:
        here = self._tokens[self._place] if self._place < len(self._tokens) else ("", "")
        is_here = here[0] == kind and here[1].upper() == text
        self._place += is_here
        return is_here

    def _is(self, word: str) -> bool:
        return self._has("word", word)

    def _word(self, word: str) -> None:
        if not self._is(word):
            raise self._wrong()

    def _sign(self, sign: str) -> None:
        if not self._has("sign", sign):
            raise self._wrong()

    def _wrong(self) -> QueryError:
        here = self._tokens[self._place][1] if self._place < len(self._tokens) else "<EOF>"
        return QueryError("4000", f'QueryParserError: Encountered "{here}" at line 1')


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            words = f'QueryParserError: Encountered "{text[place : place + 20]}" at line 1'
            raise QueryError("4000", words)
        yield found.lastgroup, found[found.lastgroup]
        place = found.end()


def _comparable(value: Any) -> Any:
    if isinstance(value, str):
        return value.casefold()
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_number else value
