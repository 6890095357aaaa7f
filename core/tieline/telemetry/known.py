"""Find the secrets that this process knows in a text, quickly where there is none."""

from __future__ import annotations

import os
import re
import threading
from bisect import bisect_right
from collections import Counter

from tieline.telemetry.forms import forms_of

__all__ = ["LEAST", "Known", "Span"]

LEAST = 8
"""Characters: what is shorter is part of ordinary words."""

Span = tuple[int, int]

# Every fourth piece of five characters of a text is looked up: wherever eight given
# characters are, one such piece begins with one of the first four of them.
_PIECE = 5
_STEP = LEAST - _PIECE + 1
# A line break, as it is or as JSON and Python write it; and what frames lines.
_BREAK = re.compile(r"\n|\r\n?|\\(?:\\{0,3}r\\)?\\{0,3}n")
_FRAME = " \t│|>"


class Known:
    """A set of secrets. Threads may share it; looking takes no lock.

    Args:
        most: How many are kept; beyond that the one is forgotten that was not
            added for longest.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._secrets: dict[str, frozenset[str]] = {}
        self._owners: Counter[str] = Counter()  # how many secrets have a form
        self._begins: dict[str, int] = {}  # at which of a form's characters its pieces begin
        self._pieces: dict[str, tuple[tuple[int, str], ...]] = {}
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._renew_lock)

    def add(self, secret: str) -> None:
        """Keep a secret of at least :data:`LEAST` characters; a shorter one is ignored."""
        if len(secret) < LEAST:
            return
        with self._lock:
            forms = self._secrets.pop(secret, None)
            if forms is None:
                forms = frozenset(forms_of(secret, least=LEAST))
                self._index(forms)
            self._secrets[secret] = forms
            while len(self._secrets) > self._most:
                self._drop(self._secrets.pop(next(iter(self._secrets))))

    def find(self, text: str) -> list[Span]:
        """Say where secrets are in a text, in order, none touching another.

        Those that a line break cuts in two are found too.
        """
        found = self._look(text)
        if "\n" in text or "\\n" in text or "\r" in text:
            found += self._look_over_breaks(text)
        return _joined(found)

    def _look(self, text: str) -> list[Span]:
        near, found = self._pieces.get, []
        for at in range(0, len(text) - _PIECE + 1, _STEP):
            if pieces := near(text[at : at + _PIECE]):
                for before, form in pieces:
                    if at >= before and text.startswith(form, at - before):
                        found.append((at - before, at - before + len(form)))
        return found

    def _look_over_breaks(self, text: str) -> list[Span]:
        """Look at a text as if its lines were one, without what frames them."""
        parts: list[str] = []
        ours, theirs = [0], [0]  # where each line begins in the joined text, and in this one
        at, size = 0, 0
        for end, following in _lines(text):
            line = text[at:end]
            bare = line.lstrip(_FRAME)
            ours.append(size)
            theirs.append(at + len(line) - len(bare))
            parts.append(bare.rstrip(_FRAME))
            size += len(parts[-1])
            at = following

        def place(of: int) -> int:
            line = bisect_right(ours, of) - 1
            return theirs[line] + of - ours[line]

        return [(place(start), place(end - 1) + 1) for start, end in self._look("".join(parts))]

    def _index(self, forms: frozenset[str]) -> None:
        for form in forms:
            self._owners[form] += 1
            if self._owners[form] == 1:
                self._begins[form] = begin = self._rarest(form)
                for before, piece in _pieces(form, begin):
                    self._pieces[piece] = (*self._pieces.get(piece, ()), (before, form))

    def _rarest(self, form: str) -> int:
        """Choose what to know a form by: many keys begin alike, and few end so."""
        size = len(form)
        return min(
            (size - LEAST, (size - LEAST) // 2, 0),
            key=lambda begin: max(len(self._pieces.get(p, ())) for _, p in _pieces(form, begin)),
        )

    def _drop(self, forms: frozenset[str]) -> None:
        for form in forms:
            self._owners[form] -= 1
            if not self._owners[form]:
                del self._owners[form]
                for before, piece in _pieces(form, self._begins.pop(form)):
                    left = tuple(of for of in self._pieces[piece] if of != (before, form))
                    if left:
                        self._pieces[piece] = left
                    else:
                        del self._pieces[piece]

    def _renew_lock(self) -> None:
        """Keep a child from waiting for a thread that only its parent has."""
        self._lock = threading.Lock()


def _pieces(form: str, begin: int) -> list[tuple[int, str]]:
    """Return the pieces of eight characters of a form, and how far into the form each begins."""
    return [(at, form[at : at + _PIECE]) for at in range(begin, begin + _STEP)]


def _lines(text: str) -> list[Span]:
    """Return where each line ends, and where the next begins."""
    return [found.span() for found in _BREAK.finditer(text)] + [(len(text), len(text))]


def _joined(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
