"""What every test finds: a clean environment, and real servers on demand."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy.engine import make_url

import zygote
from servers import (
    Postgres,
    Run,
    ServerMissingError,
    find_leftovers,
    given_postgres,
    kill,
    sandbox,
    start_postgres,
    wait_until,
)

# The same examples at every run: what is found by chance becomes an example of its own.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

# Read before any test's environment is cleaned.
GIVEN_POSTGRES = os.environ.get("TIELINE_TEST_PG_URL", "")
FOLDERS = {
    "HOME": ".",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_RUNTIME_DIR": "run",
    "XDG_STATE_HOME": "state",
}
KINDS = ("sqlite", "postgresql")
RUN = pytest.StashKey[Run]()
OWN_RUN = pytest.StashKey[Run]()


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", {}).get("tieline_run")
    if given:
        config.stash[RUN] = Run(folder=Path(given))
    else:
        config.stash[RUN] = config.stash[OWN_RUN] = Run.open()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    node.workerinput["tieline_run"] = str(node.config.stash[RUN].folder)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if left := _end_run(session.config):
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        raise RuntimeError(f"servers that do not stop: {'; '.join(left)}")


def pytest_unconfigure(config: pytest.Config) -> None:
    _end_run(config)


def _end_run(config: pytest.Config) -> list[str]:
    own = config.stash.get(OWN_RUN, None)
    if own is None:
        return []
    del config.stash[OWN_RUN]
    return own.close()


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail, at this worker's end, over every process that a test started and left."""
    mark = tmp_path_factory.getbasetemp().resolve()
    known = frozenset(find_leftovers(mark))
    yield
    zygote.stop()
    wait_until(lambda: not find_leftovers(mark, known), 3.0)
    if left := find_leftovers(mark, known):
        for pid in left:
            kill(pid)
        listed = "\n".join(f"{pid}: {command}" for pid, command in left.items())
        pytest.fail(f"tests left processes, now killed:\n{listed}", pytrace=False)


@pytest.fixture(autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Take away every variable of ours, and the user's own folders."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TIELINE_")]:
            patch.delenv(name)
        for name, folder in FOLDERS.items():
            path = home / folder
            path.mkdir(mode=0o700, exist_ok=True)
            patch.setenv(name, str(path))
        yield


@pytest.fixture(scope="session")
def redis_home(request: pytest.FixtureRequest) -> Path:
    """A home whose embedded Valkey this test process shares."""
    run = request.config.stash[RUN]
    run.watch()
    return run.folder / getattr(request.config, "workerinput", {}).get("workerid", "main")


@pytest.fixture(scope="session")
def redis_server(redis_home: Path):
    from tieline.coordination import EmbeddedServer

    server = EmbeddedServer(redis_home)
    server.ensure()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server) -> str:
    """An empty Valkey of this worker's own, as ``unix://…``."""
    from tieline.coordination import open_redis

    client = open_redis(redis_server.ensure())  # a test may have killed it
    client.flushall()
    client.close()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Postgres:
    """The PostgreSQL of ``TIELINE_TEST_PG_URL``, else one for this run that we start."""
    if GIVEN_POSTGRES:
        return given_postgres(GIVEN_POSTGRES)
    try:
        return start_postgres(request.config.stash[RUN])
    except ServerMissingError as error:
        pytest.skip(f"{error}; set TIELINE_TEST_PG_URL")


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """An empty database of PostgreSQL, as ``postgresql+psycopg://…``."""
    with postgres_server.new_database() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database file that is not there yet, as ``sqlite:///…``."""
    return f"sqlite:///{tmp_path / 'tieline.db'}"


def _migrate(url: str) -> None:
    from tieline.contract import Secret
    from tieline.store import schema
    from tieline.store.database import open_database

    database = open_database(Secret(url))
    schema.upgrade(database)
    database.close()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all tables, to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "tieline.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_name(postgres_server: Postgres) -> Iterator[str]:
    """The name of a database with all tables, to copy."""
    with postgres_server.new_database() as url:
        _migrate(url)
        yield make_url(url).database or ""


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind in turn, with all tables and nothing in them."""
    if request.param == "sqlite":
        path = tmp_path / "tieline.db"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        yield f"sqlite:///{path}"
        return
    name = request.getfixturevalue("migrated_name")
    with request.getfixturevalue("postgres_server").new_database(name) as url:
        yield url


@pytest.fixture(params=KINDS)
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """A database of each kind in turn, without tables."""
    name = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    return request.getfixturevalue(name)


@pytest.fixture
def site(database_url, redis_url, tmp_path):
    """An initialised installation of real processes, quick to notice the dead."""
    from site_of import make_site

    made = make_site(tmp_path / "site", database_url, redis_url, lease_s="1", sweep_s="0.2")
    yield made
    made.close()


@pytest.fixture(scope="session")
def shop_sandbox():
    """A Stripe sandbox with 1,200 customers that no test changes."""
    with sandbox(customers=1200) as url:
        yield url
