"""The pictures of the docs, drawn from the code where it knows what they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from pictures import one_page, parts, recording, refresh, states, webhook

__all__ = ["FOLDER", "PICTURES", "write_all"]

FOLDER = Path(__file__).parents[2] / "docs/pictures"
PICTURES: dict[str, Callable[[], str]] = {
    "parts.svg": parts.draw,
    "one-page.svg": one_page.draw,
    "refresh.svg": refresh.draw,
    "webhook.svg": webhook.draw,
    "states.svg": states.draw,
    "first-minutes.svg": recording.draw,
}


def write_all(*, records: bool) -> None:
    """Write all pictures anew.

    Args:
        records: Type the session of the recording first.
    """
    if records:
        from pictures.session import type_session  # it needs more than drawing does

        with TemporaryDirectory() as folder:
            recording.SESSION.write_text(type_session(Path(folder).resolve()))
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw())
