from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

import servers


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory):
    """No test sees the settings or the home of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("TIELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(home / name.lower()))


@pytest.fixture(scope="session")
def postgres_server():
    if os.environ.get("TIELINE_TEST_PG_URL"):
        yield None
        return
    with servers.postgres() as server:
        yield server


_OUTSIDE_URL = os.environ.get("TIELINE_TEST_PG_URL")


@pytest.fixture
def postgres_url(postgres_server):
    name = f"t{uuid.uuid4().hex}"
    admin_url = postgres_server.url() if postgres_server else _OUTSIDE_URL
    admin = create_engine(admin_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    base, _, query = admin_url.partition("?")
    yield base.rsplit("/", 1)[0] + f"/{name}" + (f"?{query}" if query else "")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/tieline.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    """An empty database of each kind."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture(scope="session")
def redis_home(tmp_path_factory) -> Path:
    """A home whose embedded Valkey this test process shares."""
    return tmp_path_factory.mktemp("redis")


@pytest.fixture(scope="session")
def redis_server(redis_home):
    from tieline.coordination import EmbeddedServer

    server = EmbeddedServer(redis_home)
    server.ensure()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server):
    """An empty Redis."""
    from tieline.coordination import open_redis

    client = open_redis(redis_server.url)
    client.flushall()
    client.close()
    return redis_server.url


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
    with servers.sandbox(customers=1200) as url:
        yield url
