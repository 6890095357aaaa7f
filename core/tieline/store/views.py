"""Views in the database: made, found, dropped, and kept out of migrations' way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal, Self

from sqlalchemy import delete, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from tieline.errors import RefusedError
from tieline.store.database import Connection
from tieline.store.tables import views
from tieline.store.view_sql import LONGEST_NAME, Column, literal, quoted, select_sql

__all__ = [
    "Definition",
    "Kept",
    "ViewRow",
    "define_view",
    "delete_view",
    "find_relation",
    "list_views",
    "lock_views",
    "put_back",
    "put_view",
    "take_away",
    "view_name",
]

_MARK = "Made by Tieline"
_ALL = "_all"
_LOCK = 7416840


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewRow:
    """A view that we made: whose it is, and what it was made from.

    Attributes:
        fingerprint: Hash over the text that it was made from.
    """

    name: str
    provider: str
    entity: str
    fingerprint: str
    created_at: datetime
    updated_at: datetime

    @property
    def name_of_all(self) -> str:
        """Name of the second view, which shows tombstones too."""
        return self.name + _ALL

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``views``."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """What an entity's views are to be.

    Attributes:
        dialect: ``postgresql`` or ``sqlite``.
        name: Name of the view of live records.
        columns: One for each field.
        fingerprint: Hash over the queries.
    """

    dialect: str
    provider: str
    entity: str
    name: str
    columns: Sequence[Column]
    fingerprint: str

    def query(self, *, with_deleted: bool, first: Sequence[str] = ()) -> str:
        """Write a view's query; see :func:`~tieline.store.view_sql.select_sql`."""
        return select_sql(
            self.dialect,
            provider=self.provider,
            entity=self.entity,
            columns=self.columns,
            with_deleted=with_deleted,
            first=first,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A view that was taken away for a while.

    Attributes:
        statements: What makes it again, rights included.
    """

    name: str
    statements: Sequence[str]


def view_name(provider: str, entity: str) -> str:
    """Name an entity's view: ``stripe_customers``, with a hash for an end if that is too long."""
    name = f"{provider}_{entity}"
    longest = LONGEST_NAME - len(_ALL)
    if len(name) <= longest:
        return name
    return f"{name[: longest - 9]}_{blake2b(name.encode(), digest_size=4).hexdigest()}"


def define_view(dialect: str, provider: str, entity: str, columns: Sequence[Column]) -> Definition:
    """Say what an entity's views are to be; nothing is made."""
    wanted = Definition(
        dialect=dialect,
        provider=provider,
        entity=entity,
        name=view_name(provider, entity),
        columns=columns,
        fingerprint="",
    )
    texts = "\0".join(wanted.query(with_deleted=with_deleted) for with_deleted in (False, True))
    return replace(wanted, fingerprint=blake2b(texts.encode(), digest_size=16).hexdigest())


def list_views(connection: Connection) -> list[ViewRow]:
    """Read all views that we made by name."""
    statement = select(views).order_by(views.c.name)
    return [ViewRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def lock_views(connection: Connection) -> None:
    """Let nobody else make or drop views until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def find_relation(connection: Connection, name: str) -> Literal["ours", "foreign"] | None:
    """Say what has a name in the database; None if it is free."""
    if connection.dialect.name == "postgresql":
        found = connection.execute(_FIND_POSTGRESQL, {"name": name}).scalars().all()
    else:
        found = connection.execute(_FIND_SQLITE, {"name": name}).scalars().all()
    if not found:
        return None
    return "ours" if any(_MARK in (mark or "") for mark in found) else "foreign"


# A type, such as an enum, may have the name too, and then no view can.
_FIND_POSTGRESQL = text("""
SELECT CASE c.relkind WHEN 'v' THEN obj_description(c.oid, 'pg_class') END FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = :name
UNION ALL
SELECT NULL FROM pg_type AS t
WHERE t.typnamespace = current_schema()::regnamespace AND t.typname = :name
""")
_FIND_SQLITE = text(
    "SELECT CASE type WHEN 'view' THEN sql END FROM sqlite_master"
    " WHERE lower(name) = lower(:name) AND type <> 'trigger'"
)


def put_view(
    connection: Connection, wanted: Definition, *, with_deleted: bool, now: datetime
) -> Literal["created", "recreated", "unchanged"]:
    """Make an entity's views, or make them again if they are not as they should be.

    Args:
        connection: Open write transaction, after :func:`lock_views`.
        wanted: What they are to be.
        with_deleted: Whether the second one is wanted; once made, it stays.
        now: Aware UTC.

    Raises:
        RefusedError: Something that is not ours has the name, something else
            depends on the view, or the database's user may not make views.
    """
    row = _find(connection, wanted)
    if row is not None and row.name != wanted.name:
        drop_views(connection, row)
        row = None
    names = {wanted.name: False, wanted.name + _ALL: True}
    there = {name: find_relation(connection, name) for name in names}
    if not with_deleted and there[wanted.name + _ALL] != "ours":
        del names[wanted.name + _ALL]
    is_current = row is not None and row.fingerprint == wanted.fingerprint
    if is_current and all(there[name] == "ours" for name in names):
        return "unchanged"
    for name, shows_all in names.items():
        if there[name] == "foreign":
            raise _taken(name)
        if there[name] is None:
            query = wanted.query(with_deleted=shows_all)
            _run(connection, _create(connection, name, query))
            _comment(connection, name)
        elif not is_current:
            _make_again(connection, name, wanted, with_deleted=shows_all)
    _store(connection, wanted, now)
    return "created" if row is None else "recreated"


def delete_view(connection: Connection, row: ViewRow) -> None:
    """Drop an entity's views, and forget them; what is not ours stays.

    Raises:
        RefusedError: Something else depends on them.
    """
    drop_views(connection, row)
    connection.execute(delete(views).where(views.c.name == row.name))


def drop_views(connection: Connection, row: ViewRow) -> None:
    """Drop an entity's views from the database alone."""
    for name in (row.name_of_all, row.name):
        if find_relation(connection, name) == "ours":
            _drop(connection, name)


def take_away(connection: Connection) -> list[Kept]:
    """Drop all our views, so that a migration may change the tables under them.

    Returns:
        What :func:`put_back` needs, in the same transaction.

    Raises:
        RefusedError: Something else depends on one of them.
    """
    if connection.dialect.name == "postgresql":
        found = connection.execute(_OURS_POSTGRESQL, {"mark": f"{_MARK}%"}).all()
        kept = [
            Kept(
                name=name,
                statements=[
                    _create(connection, name, query),
                    _comment_sql(name),
                    *_rights(connection, name),
                ],
            )
            for name, query in found
        ]
    else:
        found = connection.execute(_OURS_SQLITE, {"mark": f"%{_MARK}%"}).all()
        kept = [Kept(name=name, statements=[sql]) for name, sql in found]
    for view in kept:
        _drop(connection, view.name)
    return kept


_OURS_POSTGRESQL = text("""
SELECT c.relname, pg_get_viewdef(c.oid) FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'v'
  AND obj_description(c.oid, 'pg_class') LIKE :mark
""")
_OURS_SQLITE = text("SELECT name, sql FROM sqlite_master WHERE type = 'view' AND sql LIKE :mark")


def put_back(connection: Connection, kept: Sequence[Kept]) -> list[str]:
    """Make views again after a migration.

    Returns:
        Names of those that do not fit the tables any more; they are made anew
        by ``tieline views create``.
    """
    lost = []
    for view in kept:
        try:
            with connection.begin_nested():
                for statement in view.statements:
                    _run(connection, statement)
                # SQLite looks at a view's tables only when it is read.
                _run(connection, f"SELECT 1 FROM {quoted(view.name)} LIMIT 0")  # noqa: S608
        except DBAPIError:
            lost.append(view.name)
    return lost


def _find(connection: Connection, wanted: Definition) -> ViewRow | None:
    of = (views.c.provider == wanted.provider, views.c.entity == wanted.entity)
    row = connection.execute(select(views).where(*of)).mappings().first()
    other = select(views).where(views.c.name == wanted.name)
    holder = connection.execute(other).mappings().first()
    if holder is not None and (row is None or holder["name"] != row["name"]):
        raise RefusedError(
            f"the view {wanted.name!r} is that of {holder['provider']} {holder['entity']} already",
            hint=f"tieline views drop {holder['provider']} {holder['entity']}",
            code="view-name-taken",
        )
    return None if row is None else ViewRow.of(dict(row))


def _create(connection: Connection, name: str, query: str) -> str:
    # SQLite keeps a comment; PostgreSQL has a statement of its own for it.
    mark = f"/* {_MARK} */ " if connection.dialect.name == "sqlite" else ""
    return f"CREATE VIEW {quoted(name)} AS {mark}{query}"


def _make_again(
    connection: Connection, name: str, wanted: Definition, *, with_deleted: bool
) -> None:
    """Replace a view; on PostgreSQL with its rights, and in place where that can be."""
    query = wanted.query(with_deleted=with_deleted)
    if connection.dialect.name == "sqlite":
        _drop(connection, name)
        _run(connection, _create(connection, name, query))
        return
    # Columns may be added at the end alone, so those that are there come first.
    first = connection.execute(_COLUMNS, {"name": name}).scalars().all()
    grown = wanted.query(with_deleted=with_deleted, first=first)
    try:
        with connection.begin_nested():  # what depends on it stays
            _run(connection, f"CREATE OR REPLACE VIEW {quoted(name)} AS {grown}")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42P16":  # columns went, or changed type
            raise _refused(error, name) from None
        rights = _rights(connection, name)
        _drop(connection, name)
        _run(connection, _create(connection, name, query))
        for right in rights:
            _run(connection, right)
        _comment(connection, name)


_COLUMNS = text("""
SELECT a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = :name
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
""")


def _drop(connection: Connection, name: str) -> None:
    try:
        with connection.begin_nested():
            _run(connection, f"DROP VIEW {quoted(name)}")
    except DBAPIError as error:
        raise _refused(error, name) from None


def _comment(connection: Connection, name: str) -> None:
    if connection.dialect.name == "postgresql":
        _run(connection, _comment_sql(name))


def _comment_sql(name: str) -> str:
    text = literal(f"{_MARK}; made again by: tieline views create")
    return f"COMMENT ON VIEW {quoted(name)} IS {text}"


def _rights(connection: Connection, name: str) -> list[str]:
    """Write down who may read a view, since dropping it takes that away."""
    return [
        f"GRANT {right} ON {quoted(name)} TO {'PUBLIC' if role is None else quoted(role)}"
        + (" WITH GRANT OPTION" if may_grant else "")
        for right, role, may_grant in connection.execute(_RIGHTS, {"name": name})
    ]


_RIGHTS = text("""
SELECT a.privilege_type, g.rolname, a.is_grantable
FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a LEFT JOIN pg_roles AS g ON g.oid = a.grantee
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = :name
  AND a.grantee <> c.relowner
""")


def _store(connection: Connection, wanted: Definition, now: datetime) -> None:
    insert_into = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    statement = insert_into(views).values(
        name=wanted.name,
        provider=wanted.provider,
        entity=wanted.entity,
        fingerprint=wanted.fingerprint,
        created_at=now,
        updated_at=now,
    )
    changed = {"name": wanted.name, "fingerprint": wanted.fingerprint, "updated_at": now}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["provider", "entity"], set_=changed)
    )


def _run(connection: Connection, statement: str) -> None:
    """Run a statement as it is: neither % nor : in it stands for a value."""
    plain = connection.execution_options(no_parameters=True)
    plain.exec_driver_sql(statement)


def _taken(name: str) -> RefusedError:
    return RefusedError(
        f"the database has a {name!r} that is none of Tieline's views",
        hint="rename it, or drop it if nobody needs it",
        code="view-name-taken",
    )


def _refused(error: DBAPIError, name: str) -> Exception:
    state = getattr(error.orig, "sqlstate", None)
    if state == "2BP01":
        detail = error.orig.diag.message_detail or ""  # type: ignore[union-attr]
        return RefusedError(
            f"the view {name!r} cannot be dropped: {' '.join(detail.split())}",
            hint="drop what depends on it, and make it again afterwards",
            code="view-needed",
        )
    if state == "42501":
        return RefusedError(
            f"the database's user may not make or drop the view {name!r}",
            hint="GRANT CREATE ON SCHEMA … TO that user, or let the view's owner do it",
            code="view-not-allowed",
        )
    return error
