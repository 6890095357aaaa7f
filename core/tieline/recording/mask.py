"""Take people, secrets and business out of what a provider answered, and leave its form.

The same text becomes the same text, all through a recording, and ids keep their
order, so that pages still follow one another. What it became cannot be turned
back: the chance that chose it is not kept.
"""

from __future__ import annotations

import json
import random
import re
import string
from base64 import b64encode, urlsafe_b64encode
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from tieline.errors import RefusedError
from tieline.recording.kinds import Judge, hides, is_field_name, is_time

__all__ = ["HIDDEN", "Mask"]

HIDDEN = "[hidden]"
"""What stands in place of a secret."""

_SHORT = 4
_LONG_SECRET = 6
_LONG_NUMBER = 8
_TRIES = 50
_PREFIX = re.compile(r"(?:[A-Za-z]{1,12}_){1,3}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_SOME_DAY = "2000-01-01"
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_HEX = frozenset("0123456789abcdef-")
_ELSEWHERE = "example.com"


class Mask:
    """Masks the answers of one recording.

    Everything is shown to :meth:`learn` first, so that ids can keep their order;
    then it may be masked.

    Args:
        judge: Says what may stay.
        secrets: What must be nowhere: the credential's fields.
        base_url: The connection's base address; it becomes ``public_url``.
        public_url: The provider's own.
        owns: Whether an origin is the provider's.
        chance: Chooses what stands for what.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        secrets: Collection[str] = (),
        base_url: str = "",
        public_url: str = "",
        owns: Any = lambda _origin: False,
        chance: random.Random | None = None,
    ) -> None:
        self._judge = judge
        self._secrets = [each for each in secrets if len(each) >= _LONG_SECRET]
        self._base_url, self._public_url, self._owns = base_url, public_url, owns
        self._chance = chance or random.SystemRandom()
        self._ids: dict[str, str] = {}
        self._odd: list[str] = []
        self._texts: dict[str, str] = {}
        self._met: set[str] = set()

    @property
    def count(self) -> int:
        """How many different values were replaced."""
        return sum(old != new for made in (self._ids, self._texts) for old, new in made.items())

    # --- learning ---------------------------------------------------------------------------------

    def learn(self, value: Any, name: str = "", *, is_personal: bool = False) -> None:
        """Look at an answer, or a part of one, for ids."""
        if isinstance(value, Mapping):
            for key, inner in value.items():
                within = is_personal or self._judge.holds_people(key)
                self.learn(inner, key, is_personal=within)
        elif isinstance(value, list):
            for inner in value:
                self.learn(inner, name, is_personal=is_personal)
        elif isinstance(value, str):
            kind = self._judge.text(name, value, is_personal=is_personal)
            if kind == "id":
                self._met.add(value)
            elif kind == "url":
                self._met.update(_parts_of(value))
        elif isinstance(value, int) and self._judge.is_id(name, value):
            self._met.add(str(value))

    def learn_ids(self, given: Iterable[str]) -> None:
        """Take note of what is an id wherever it stands."""
        self._met.update(filter(None, given))

    def learn_links(self, header: str) -> None:
        """Look at the header ``Link`` for ids and cursors."""
        for address in re.findall(r"<([^>]*)>", header):
            self._met.update(_parts_of(address))

    def settle(self) -> None:
        """Choose what stands for each id: those of one form in their order."""
        forms: dict[str, list[str]] = defaultdict(list)
        for each in self._met - self._ids.keys():
            forms[_form_of(each)].append(each)
        for olds in forms.values():
            news = self._as_many(sorted(olds))
            self._ids.update(zip(sorted(olds), news, strict=True))
        # More than one token: as a whole, the longest first, as one may hold another.
        odd = (one for one in self._ids if len(one) > _SHORT and _is_odd(one))
        self._odd = sorted(odd, key=len, reverse=True)

    def _as_many(self, olds: list[str]) -> list[str]:
        if len(olds[0]) < _SHORT:
            return olds  # it tells nothing, and there are too few of them
        made: set[str] = set()
        for number in range(_TRIES * len(olds)):
            if len(made) == len(olds):
                break
            made.add(self._other_id(olds[number % len(olds)]))
        return sorted(made) if len(made) == len(olds) else olds

    # --- answers ----------------------------------------------------------------------------------

    def value(self, value: Any, name: str = "", *, is_personal: bool = False) -> Any:
        """Return an answer, or a part of one, as it may be shown."""
        if isinstance(value, Mapping):
            return {
                self._name(key): self.value(
                    inner, key, is_personal=is_personal or self._judge.holds_people(key)
                )
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self.value(inner, name, is_personal=is_personal) for inner in value]
        if isinstance(value, str):
            return self._text(name, value, is_personal=is_personal)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, (int, float)):
            return self._number(name, value, is_personal=is_personal)
        return self._other_text(str(value))

    def _text(self, name: str, value: str, *, is_personal: bool) -> str:
        kind = self._judge.text(name, value, is_personal=is_personal)
        if kind == "secret" or any(each in value for each in self._secrets):
            return HIDDEN
        if kind == "kept":
            return value
        if kind == "id":
            return self._id(value)
        if kind == "email":
            return self._email(value)
        if kind == "url":
            return self._url(value)
        return _SOME_DAY if _DAY.fullmatch(value) else self._other_text(value)

    def _email(self, value: str) -> str:
        return f"{self._other_text(value.rpartition('@')[0].lower())}@{_ELSEWHERE}"

    def _number(self, name: str, value: float, *, is_personal: bool) -> Any:
        kind = self._judge.number(name, value, is_personal=is_personal)
        if kind == "kept":
            return value
        if isinstance(value, int):
            return int(self._id(str(value)) if kind == "id" else self._other_text(str(value)))
        return float(self._other_text(f"{value:.6f}"))

    def _name(self, key: str) -> str:
        """Names of fields stay, unless they are somebody's: ids, addresses."""
        if key in self._ids:
            return self._ids[key]
        return key if is_field_name(key) else self._other_text(key)

    def _url(self, value: str) -> str:
        if self._base_url and value.startswith(self._base_url):
            value = f"{self._public_url}{value.removeprefix(self._base_url)}"
        parts = urlsplit(value)
        is_theirs = (
            not parts.netloc
            or value.startswith(self._public_url or "\0")
            or self._owns(f"{parts.scheme}://{parts.netloc}")
        )
        steps = [self._step(each, is_theirs=is_theirs) for each in parts.path.split("/")]
        query = [
            (name, self._ids.get(text, text))
            for name, text in parse_qsl(parts.query, keep_blank_values=True)
        ]
        host = parts.netloc.rpartition("@")[2] if is_theirs else _ELSEWHERE
        return urlunsplit((parts.scheme, host, "/".join(steps), urlencode(query), ""))

    def _step(self, step: str, *, is_theirs: bool) -> str:
        if step in self._ids or not is_theirs:
            return self._id(step)
        return self._id(step) if len(step) >= _SHORT and re.search(r"\d{2}", step) else step

    # --- requests ---------------------------------------------------------------------------------

    def asked(self, text: str) -> str:
        """Return a part of a request: it is the plugin's own, but for ids that it names."""
        if any(each in text for each in self._secrets):
            return HIDDEN
        if text in self._ids and not (text.isdigit() and len(text) <= _SHORT):
            return self._ids[text]
        if "@" in text:
            return self._email(text)
        if not self._odd:
            return self._tokens(text)
        odd = re.compile("|".join(map(re.escape, self._odd)))
        made, done = [], 0
        for match in odd.finditer(text):
            made += [self._tokens(text[done : match.start()]), self._ids[match[0]]]
            done = match.end()
        return "".join([*made, self._tokens(text[done:])])

    def asked_path(self, path: str) -> str:
        """Return the path of a request, its signs as they are meant, in the same way."""
        whole = next((each for each in self._odd if "/" in each and each in path), None)
        if whole is not None:
            before, after = path.split(whole, 1)
            return self.asked_path(before) + self._ids[whole] + self.asked_path(after)
        return "/".join(map(self.asked, path.split("/")))

    def _tokens(self, text: str) -> str:
        return _TOKEN.sub(lambda match: self._id_within(match[0]), text)

    def _id_within(self, token: str) -> str:
        """A short number within a text may be anything."""
        is_telling = len(token) > _SHORT and not (token.isdigit() and len(token) < _LONG_NUMBER)
        return self._ids.get(token, token) if is_telling else token

    def asked_value(self, value: Any, name: str = "") -> Any:
        """Return the body of a request in the same way."""
        if isinstance(value, Mapping):
            return {key: self.asked_value(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.asked_value(inner, name) for inner in value]
        if isinstance(value, str):
            return HIDDEN if hides(name) else self.asked(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return int(self.asked(str(value)))
        return value

    def links(self, header: str) -> str:
        """Return a header ``Link`` with its addresses masked."""
        return re.sub(r"<([^>]*)>", lambda match: f"<{self._url(match[1])}>", header)

    def require_clean(self, document: Any) -> None:
        """Look for secrets once more, in every form in which they may be written.

        Raises:
            RefusedError: There is one; nothing may be stored.
        """
        text = json.dumps(document, ensure_ascii=False)
        for secret in self._secrets:
            if any(each in text for each in _forms_of(secret)):
                raise RefusedError(
                    "the answers hold a part of the credential at a place that cannot be masked",
                    hint="record another entity, and look at where the provider repeats it",
                    code="recording-unsafe",
                )

    # --- what stands for what ---------------------------------------------------------------------

    def _id(self, value: str) -> str:
        if value not in self._ids:
            self._ids[value] = value if len(value) < _SHORT else self._other_id(value)
        return self._ids[value]

    def _other_id(self, value: str) -> str:
        start = _PREFIX.match(value)
        kept = start[0] if start else ""
        return kept + self._other(value[len(kept) :])

    def _other_text(self, value: str) -> str:
        if value not in self._texts:
            self._texts[value] = self._other(value)
        return self._texts[value]

    def _other(self, value: str) -> str:
        """Write another text of the same form: letters for letters, digits for digits."""
        is_hex = len(value) >= 8 and set(value) <= _HEX
        first = next((sign for sign in value if sign.isdigit()), "")
        made = []
        for place, sign in enumerate(value):
            if sign.isdigit():
                low = 1 if place == value.find(first) and sign != "0" else 0
                made.append(str(self._chance.randint(low, 9)))
            elif is_hex and sign != "-":
                made.append(self._chance.choice("abcdef"))
            elif "a" <= sign <= "z":
                made.append(self._chance.choice(string.ascii_lowercase))
            elif "A" <= sign <= "Z":
                made.append(self._chance.choice(string.ascii_uppercase))
            else:
                made.append("é" if sign.isalpha() else sign)
        return "".join(made)


def _parts_of(address: str) -> Iterable[str]:
    """Return the values in the query of an address that may be ids or cursors."""
    return {
        text
        for _, text in parse_qsl(urlsplit(address).query)
        if len(text) > _SHORT and re.search(r"\d|=|.{20}", text)
    }


def _is_odd(known: str) -> bool:
    """Say whether an id has other signs than a token has, and is no time."""
    return not _TOKEN.fullmatch(known) and not is_time(known)


def _form_of(value: str) -> str:
    """Say which ids have one order: those of one beginning, one length, one alphabet."""
    start = _PREFIX.match(value)
    rest = value[start.end() :] if start else value
    alphabet = "digits" if rest.isdigit() else "hex" if set(rest) <= _HEX else "any"
    return f"{start[0] if start else ''}{len(rest)} {alphabet}"


def _forms_of(secret: str) -> Iterable[str]:
    raw = secret.encode()
    yield secret
    yield json.dumps(secret)[1:-1]
    yield quote(secret, safe="")
    yield raw.hex()
    for encode in (b64encode, urlsafe_b64encode):
        yield encode(raw).decode().rstrip("=")
