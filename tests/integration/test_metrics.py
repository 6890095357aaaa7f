"""``/metrics`` tells what ``tieline limits`` and ``alerts`` tell, to who shows the token."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from inbox_kit import Told, deliver
from kit import make_bench
from tieline.alerts import Alerter
from tieline.clock import SystemClock
from tieline.contract import Reply
from tieline.services.limits import accounts_of
from tieline.throttle import Throttle
from tieline.transport import Call
from tieline.web import Listener, create_app

TOKEN = "a-token-of-26-characters-x"
CALL = Call(connection_id="c", method="GET", host="shelf.example.com", path="/items")
SHOP = {"provider": "shelf", "environment": "live", "connection": "shop"}


def new_bench(database_url, redis_url, home, **settings):
    made = make_bench(
        database_url,
        home,
        redis_url=redis_url,
        shelf_rate_limits="20/minute; concurrency=3",
        **settings,
    )
    made.installation.clock = made.clock
    made.clock.move((SystemClock().now() - made.clock.now()).total_seconds())
    return made


@pytest.fixture
def bench(database_url, redis_url, tmp_path):
    made = new_bench(database_url, redis_url, tmp_path, metrics_token=TOKEN)
    yield made
    made.installation.close()


def ask(bench, token: str = TOKEN) -> httpx.Response:
    with Listener(create_app(bench.installation), host="127.0.0.1", port=0) as listener:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.get(f"{listener.address}/metrics", headers=headers, trust_env=False)


def samples(reply: httpx.Response) -> dict[str, list[tuple[dict[str, str], float]]]:
    assert reply.status_code == 200
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(reply.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_usage_refusals_pauses_and_alerts_are_measured(bench):
    [account] = accounts_of(bench.installation)
    gate = Throttle(
        bench.installation.redis, account.connection, account.policy, clock=SystemClock()
    )
    for status in (200, 200, 429):
        with gate.passing(CALL):
            headers = {"retry-after": "30"} if status == 429 else {}
            gate.saw(CALL, Reply(status=status, headers=headers, content=b"", seconds=0.1))
    Alerter(bench.database, bench.clock).raise_alert("run-dead", "run_1", "it is dead")

    found = samples(ask(bench))
    window = SHOP | {"counts": "all calls", "period_s": "60"}
    assert found["tieline_limit_used"] == [(window, 3)]
    assert found["tieline_limit_allowed"] == [(window, 20)]
    assert found["tieline_limit_waiting"] == [(window, 0)]
    assert found["tieline_calls_under_way"] == [(SHOP, 0)]
    assert found["tieline_calls_under_way_allowed"] == [(SHOP, 3)]
    assert (SHOP | {"pace": "live"}, 3) in found["tieline_calls_total"]
    assert found["tieline_calls_refused_total"] == [(SHOP, 1)]
    assert 20 < found["tieline_limit_paused_seconds"][0][1] < 31
    assert found["tieline_alerts_open"] == [({"kind": "run-dead"}, 1)]
    assert found["tieline_up"] == [({"part": "redis"}, 1), ({"part": "database"}, 1)]


def test_events_that_are_not_handled_are_measured(bench):
    ids = deliver(bench, *(Told(type="item.changed", key=key, at=-5) for key in "abc"))
    with bench.database.write() as connection:
        connection.exec_driver_sql(
            f"UPDATE webhook_events SET state = 'dead' WHERE id = '{ids[0]}'"
        )
    bench.clock.move(90)
    found = samples(ask(bench))
    told = {labels["state"]: value for labels, value in found["tieline_webhook_events"]}
    assert told == {"pending": 2, "dead": 1}
    assert found["tieline_webhook_oldest_pending_seconds"] == [({}, 90)]


def test_while_redis_is_away_it_says_so_and_tells_the_rest(database_url, tmp_path):
    bench = new_bench(database_url, "redis://127.0.0.1:1", tmp_path, metrics_token=TOKEN)
    found = samples(ask(bench))
    assert found["tieline_up"] == [({"part": "redis"}, 0), ({"part": "database"}, 1)]
    assert "tieline_limit_used" not in found
    bench.installation.close()


@pytest.mark.parametrize("token", ["", "wrong", f"{TOKEN}x", TOKEN[:-1]])
def test_who_shows_no_token_is_told_nothing(bench, token):
    reply = ask(bench, token)
    assert reply.status_code == 401
    assert b"shop" not in reply.content


def test_there_are_no_metrics_without_a_token_in_the_settings(database_url, redis_url, tmp_path):
    bench = new_bench(database_url, redis_url, tmp_path)
    assert ask(bench, "").status_code == 404
    bench.installation.close()
