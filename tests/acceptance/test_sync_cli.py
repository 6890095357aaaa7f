"""What programs read of a run as it goes on."""

from __future__ import annotations

import json

from servers import sandbox, truth


def test_a_run_that_is_followed_as_json_is_a_line_for_each_step_and_one_for_its_end(site):
    with sandbox(customers=1_200) as url:
        site.connect(url)
        site.start("worker")
        followed = site.run(
            "sync", "run", "shop", "customers", "products", "--full", "--follow", "--json"
        )
        stored = truth(url)
    assert followed.returncode == 0, followed.stderr
    lines = [json.loads(line) for line in followed.stdout.splitlines()]
    ends = [line["run"] for line in lines if "run" in line]
    assert [(run["entity"], run["state"]) for run in ends] == [
        ("customers", "succeeded"), ("products", "succeeded"),
    ]  # fmt: skip
    steps = lines[: lines.index({"run": ends[0]})]
    assert {step["step"] for step in steps} >= {"fetched"}
    assert {(step["run_id"], step["entity"]) for step in steps} == {(ends[0]["id"], "customers")}
    pages = [step["pages"] for step in steps if step["step"] == "fetched"]
    assert pages == sorted(set(pages))
    assert ends[0]["counts"]["seen"] == len(stored)
    assert "fetched" not in followed.stderr.lower()
