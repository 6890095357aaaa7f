"""Bad input: one clear line, the documented exit code, nothing half-written."""

from __future__ import annotations

import pytest

from site_of import KEY, make_site


@pytest.fixture
def site(sqlite_url, redis_url, tmp_path):
    made = make_site(tmp_path / "site", sqlite_url, redis_url)
    yield made
    made.close()


def connect(*more: str) -> tuple[str, ...]:
    return ("connect", "stripe", "--name", "shop", "--key-stdin", *more)


CASES = {
    "unknown command": (("snyc",), "", 2, "did you mean sync"),
    "unknown option": (("runs", "--lmit"), "", 2, "--lmit"),
    "unknown provider": (("connect", "strype", "--name", "x", "--key-stdin"), KEY, 3, "stripe"),
    "empty key": (connect(), "", 2, "empty"),
    "blank key": (connect(), " \n", 2, "empty"),
    "two lines of key": (connect(), f"{KEY}\nmore", 2, "line breaks"),
    "a key with accents": (connect(), "sk_test_é", 2, "characters no key has"),
    "publishable key": (connect(), "pk_test_abcdefgh", 2, "publishable"),
    "no terminal": (("connect", "stripe", "--name", "x"), "", 2, "--key-stdin"),
    "bad name": (("connect", "stripe", "--name", "a b", "--key-stdin"), KEY, 2, "name"),
    "no scheme": (connect("--base-url", "localhost:1"), KEY, 2, "base address"),
    "ftp": (connect("--base-url", "ftp://localhost"), KEY, 2, "base address"),
    "bad port": (connect("--base-url", "http://localhost:99999"), KEY, 2, "base address"),
    "user in url": (connect("--base-url", "http://u:p@localhost"), KEY, 2, "base address"),
    "query in url": (connect("--base-url", "http://localhost?a=b"), KEY, 2, "base address"),
    "nobody listens": (connect("--base-url", "http://127.0.0.1:1"), KEY, 5, "no answer"),
    "unknown connection": (("sync", "run", "shop", "customers"), "", 3, "no connection"),
    "unknown run": (("runs", "show", "run_x"), "", 3, "no run"),
    "odd limit": (("runs", "--limit", "0"), "", 2, "limit"),
    "unknown sandbox": (("sandbox", "serve", "strype"), "", 2, "stripe"),
}


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_a_mistake_gets_one_line_and_its_exit_code(site, case):
    arguments, stdin, code, words = CASES[case]
    done = site.run(*arguments, stdin=stdin)
    assert done.returncode == code, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error[")
    assert words in line
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert site.json("connections")["connections"] == []


def test_an_unknown_entity_is_told_with_what_there_is(site, shop_sandbox):
    site.connect(shop_sandbox)
    done = site.run("sync", "run", "shop", "custmers")
    assert done.returncode == 3
    assert "did you mean customers?" in done.stderr
    assert site.json("runs")["runs"] == []


def test_a_refused_key_is_not_stored(site):
    import servers

    with servers.sandbox(customers=10, api_key="sk_test_theonlygoodone") as url:
        done = site.run(*connect("--base-url", url), stdin=KEY)
    assert done.returncode == 4
    assert "Stripe refuses this credential" in done.stderr
    assert KEY not in done.stderr
    assert site.json("connections")["connections"] == []


def test_a_missing_right_fails_the_run_with_the_right_named(site):
    import servers

    with servers.sandbox(customers=10) as url:
        done = site.run(*connect("--base-url", url, "--no-check"), stdin="rk_test_abc_noread")
        assert done.returncode == 0, done.stderr
        site.start("worker")
        done = site.run("sync", "run", "shop", "customers", "--wait")
    assert done.returncode == 4
    assert "Customers: Read" in done.stderr


def test_before_init_every_command_says_what_to_do(sqlite_url, redis_url, tmp_path):
    site = make_site(tmp_path / "site", sqlite_url, redis_url)
    site.close()
    empty = {"TIELINE_DATABASE_URL": f"sqlite:///{tmp_path}/empty.db"}
    for arguments in (("connections",), ("sync", "run", "a", "b"), ("worker", "--burst")):
        done = site.run(*arguments, **empty)
        assert done.returncode == 7
        assert "tieline db upgrade" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_redis_gone_is_one_line_and_asks_for_nothing(site, shop_sandbox):
    site.connect(shop_sandbox)
    gone = {"TIELINE_REDIS_URL": "redis://:hunter2hunter2@127.0.0.1:1/0"}
    for arguments in (("sync", "run", "shop", "customers", "--wait"), ("worker", "--burst")):
        done = site.run(*arguments, **gone)
        assert done.returncode == 9
        [line] = done.stderr.splitlines()
        assert "Redis" in line
        assert "hunter2" not in line
    assert site.json("runs")["runs"] == []


def test_a_database_that_is_gone_is_one_line_without_its_password(site):
    gone = {"TIELINE_DATABASE_URL": "postgresql://me:hunter2hunter2@127.0.0.1:1/tieline"}
    done = site.run("connections", **gone)
    assert done.returncode == 9
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr


def test_in_production_a_foreign_base_address_needs_a_setting(site, shop_sandbox):
    production = {"TIELINE_ENV": "production", "TIELINE_ALLOW_LOCAL_KEY": "true"}
    done = site.run(*connect("--base-url", shop_sandbox), stdin=KEY, **production)
    assert done.returncode == 7
    assert "TIELINE_ALLOWED_BASE_URLS" in done.stderr
    allowed = production | {"TIELINE_ALLOWED_BASE_URLS": shop_sandbox}
    assert site.run(*connect("--base-url", shop_sandbox), stdin=KEY, **allowed).returncode == 0


def test_in_production_a_local_key_needs_a_setting(site, shop_sandbox):
    production = {"TIELINE_ENV": "production", "TIELINE_ALLOWED_BASE_URLS": shop_sandbox}
    done = site.run(*connect("--base-url", shop_sandbox), stdin=KEY, **production)
    assert done.returncode == 7
    assert "TIELINE_ALLOW_LOCAL_KEY" in done.stderr


@pytest.mark.parametrize("setting", ["LEASE_S=0", "ENV=prod", "LOG_LEVEL=loud", "KEY=short"])
def test_a_wrong_setting_is_named(site, shop_sandbox, setting):
    name, _, value = setting.partition("=")
    arguments = connect("--base-url", shop_sandbox)
    done = site.run(*arguments, stdin=KEY, **{f"TIELINE_{name}": value})
    assert done.returncode == 7
    assert f"TIELINE_{name}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--since", "soon"], "no time like"),
        (["--since", "2026-02-30"], "no time like"),
        (["--since", "2026-03-02", "--until", "2026-03-01"], "before it begins"),
        (["--since", "2026-03-01", "--full"], "leave --since and --until away"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused_in_one_line(site, options, said):
    site.ok("init")
    done = site.run("sync", "run", "shop", "customers", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
