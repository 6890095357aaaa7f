"""`tieline db move` killed around its commit, and repeated: all is there, once."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from sqlalchemy import func, select

from move_kit import fill
from site_of import make_site
from tieline.contract import Secret
from tieline.store.database import open_database
from tieline.store.tables import metadata

PASSWORD = "CANARYpw5d1e48a2b6c4"


def count(url: str) -> int:
    database = open_database(Secret(url))
    with database.read() as transaction:
        counts = [
            transaction.execute(select(func.count()).select_from(table)).scalar()
            for table in metadata.sorted_tables
        ]
    database.close()
    return sum(counts)


@pytest.mark.parametrize(
    ("point", "is_there"), [("move.before_commit", False), ("move.after_commit", True)]
)
def test_a_killed_move_is_repeated_by_the_same_command(
    point, is_there, migrated_file, migrated_name, postgres_server, redis_url, tmp_path
):
    path = tmp_path / "tieline.db"
    shutil.copy(migrated_file, path)
    site = make_site(tmp_path / "site", f"sqlite:///{path}", redis_url)
    with site.installation.database.write() as transaction:
        fill(transaction)
    rows = count(f"sqlite:///{path}")
    site.close()
    with postgres_server.new_database(migrated_name) as url:
        # The server of the tests asks for no password, and takes any.
        given = url.replace("postgres@", f"postgres:{PASSWORD}@")
        assert given != url
        move = ("db", "move", "--to", "-")
        killed = site.run(
            *move, stdin=given, TIELINE_FAILPOINTS=f"{point}=kill", TIELINE_ALLOW_FAILPOINTS="true"
        )
        assert killed.returncode == -signal.SIGKILL
        assert count(url) == (rows if is_there else 0)
        assert site.json("db", "current")["schema"] == site.json("db", "current")["needed"]
        done = site.run(*move, "--json", stdin=given)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["copied"], told["rows"]) == (not is_there, rows)
        assert count(url) == rows
        again = site.run(*move, stdin=given)
        assert again.returncode == 7
        assert "was moved to PostgreSQL" in again.stderr
        assert "tieline db move --undo" in again.stderr
        assert PASSWORD not in f"{killed.stderr}{done.stdout}{done.stderr}{again.stderr}"
        on_the_command_line = site.run("db", "move", "--to", given)
        assert on_the_command_line.returncode == 2
        assert PASSWORD not in on_the_command_line.stderr
        assert "undone" in site.run("db", "move", "--undo").stderr
        assert site.run("sync", "run", "nobody", "items").returncode == 3
    site.close()
