"""The database: how large it is."""

from __future__ import annotations

from marshmallow import fields

from tieline.services import storage
from tieline.services.storage import DatabaseStats
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import Answer, Time

__all__ = ["OPERATIONS"]


class TableStats(Answer):
    """One table."""

    name = fields.String()
    rows = fields.Integer()
    size_bytes = fields.Integer(
        allow_none=True,
        metadata={"description": "With its indexes; null: this database does not tell."},
    )
    oldest_at = Time("When its oldest row was made.", allow_none=True)
    newest_at = Time("When its newest row was made.", allow_none=True)


class Database(Answer):
    """What is in the database."""

    database = fields.String(metadata={"description": "Where it is, without user and password."})
    kind = fields.String()
    size_bytes = fields.Integer()
    dead = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={"description": "What was given up: dead letters, events, operations."},
    )
    tables = fields.List(fields.Nested(TableStats))


def show(call: Call) -> DatabaseStats:
    """Count and measure every table."""
    return storage.read_stats(call.installation)


OPERATIONS = (
    Operation(
        name="get_database",
        method="GET",
        path="/database",
        tag="database",
        summary="Return each table's rows, size and age; it reads them whole.",
        scope="admin",
        does=show,
        answer=Database,
        is_for_all=True,
        command="db stats",
    ),
)
