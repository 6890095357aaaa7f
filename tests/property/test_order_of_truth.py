"""Any interleaving of any copies ends in the provider's state; the deleted stay deleted.

What each kind of entity is promised, once the copies at hand are brought in, in
any order, each any number of times, by writers that overtake one another:

* ``time``, ``versions``: with ``get``, and each event brought in at least once,
  it is the provider's state, whatever list pages and full runs came between.
* ``no-get``: without ``get`` it is the provider's state after one more full
  read; and before that where no two copies of a record are of the same second.
* A record whose deletion was brought in by an event never lives here again.
  Without ``get`` and with versions that holds for events alone: a list page
  that was read before the deletion has no time to tell.
"""

from __future__ import annotations

import contextlib
import os

import pytest

from kit import make_bench
from property.provider_model import KINDS, Case

CASES = int(os.environ.get("ORDER_CASES", "1120"))  # of each of nine kinds: 10,080 a database
ONE = os.environ.get("ORDER_SEED")


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    yield made
    made.installation.close()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_any_interleaving_ends_in_the_provider_s_state(bench, kind):
    with bench.database.desk() as desk:
        for seed in [int(ONE)] if ONE else range(CASES):
            play(desk, bench.connection_id, kind, seed)


def play(desk, connection_id, kind, seed):
    try:
        Case(desk, connection_id, kind, seed, f"case{seed}").play()
    except AssertionError as error:
        again = Case(desk, connection_id, kind, seed, f"again{seed}", tells=True)
        with contextlib.suppress(AssertionError):
            again.play()
        told = "\n".join(again.story)
        raise AssertionError(
            f"{error}\n{told}\nhere {again.stored()}, there {again.truth()}\n"
            f"repeat: ORDER_SEED={seed} ./tie test tests/property -k '{kind.name}]'"
        ) from None
