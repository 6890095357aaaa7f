"""Stories told by chance: whatever happens while it is read, in the end both sides agree."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tieline_mailchimp import walk

Make = Callable[..., Any]
ACTS = ("create", "update", "archive", "unarchive", "rename", "delete", "tag", "count")


def changes(chance: Random, *, most: int = 4) -> dict[str, int]:
    numbers = {name: chance.randrange(most) for name in ACTS}
    return numbers | {"delete": chance.randrange(2), "seed": chance.randrange(10**6)}


@pytest.mark.parametrize("seed", range(6))
def test_a_story_ends_in_step(
    bench: Make, in_step: Any, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = Random(seed)
    monkeypatch.setattr(walk, "_MEMBERS", walk._MEMBERS._replace(size=chance.choice((7, 20, 1000))))
    options = {"lists_archived": chance.random() < 0.5, "lag_s": chance.choice((0, 0, 20))}
    made = bench(audiences=3, contacts=90, seed=seed, **options)
    for _ in range(5):
        made.order(
            "faults",
            [
                {"kind": "mutate", "path": "/3.0/*", "nth": n, "mutation": changes(chance)}
                for n in chance.sample(range(1, 20), 3)
            ],
        )
        run = made.sync(mode=chance.choice(("incremental", "incremental", "full")))
        assert run.state == "succeeded"
        made.mutate(**changes(chance, most=12))
        made.move(chance.choice((1, 60, 4000)))
    made.order("faults", [])
    made.move(60)
    made.sync()
    # What no time of change tells is left to a full run: deletions, and tags.
    named = made.found(made.sync(mode="verify"))
    assert "missing" not in named.values()
    run = made.sync(mode="full")
    assert (run.state, run.counts.deleted) == (
        "succeeded",
        sum(kind == "surplus" for kind in named.values()),
    )
    in_step(made)
    assert made.found(made.sync(mode="verify")) == {}
