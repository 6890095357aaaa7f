"""The recording of the first minutes shows what is printed today."""

from __future__ import annotations

import pytest

from pictures.recording import SESSION
from pictures.session import type_session

pytestmark = pytest.mark.timeout(300)


@pytest.mark.slow
def test_the_recorded_session_is_what_is_to_be_seen_when_it_is_typed(tmp_path):
    assert type_session(tmp_path) == SESSION.read_text(), (
        "mend: .venv/bin/python tests/pictures --record"
    )
