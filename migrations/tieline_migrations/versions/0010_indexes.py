"""What is listed, and what is asked at every sweep and tick, is found without reading it all."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Name, table, columns, and which rows are in it if not all.
INDEXES = (
    ("ix_runs_created_at", "runs", ["created_at"], None),
    (
        "ix_runs_active",
        "runs",
        ["created_at"],
        "state IN ('queued', 'running', 'waiting', 'retrying')",
    ),
    (
        "ix_runs_stopped_pushes",
        "runs",
        ["connection_id", "entity", "finished_at"],
        "direction = 'outbound' AND state IN ('failed', 'cancelled')",
    ),
    ("ix_partitions_held", "partitions", ["lease_owner"], "state = 'running'"),
    ("ix_quarantine_connection_id_seen_at", "quarantine", ["connection_id", "seen_at"], None),
    ("ix_quarantine_nameless", "quarantine", ["run_id"], "record_id IS NULL"),
    (
        "ix_dead_letters_connection_id_created_at",
        "dead_letters",
        ["connection_id", "created_at"],
        None,
    ),
    (
        "ix_dead_letters_waiting",
        "dead_letters",
        ["connection_id", "entity", "id"],
        "settled_at IS NULL",
    ),
    ("ix_operations_connection_id_number", "operations", ["connection_id", "number"], None),
    ("ix_alerts_since", "alerts", ["since"], None),
)


def upgrade() -> None:
    """Apply."""
    for name, table, columns, where in INDEXES:
        is_in = None if where is None else sa.text(where)
        op.create_index(name, table, columns, sqlite_where=is_in, postgresql_where=is_in)


def downgrade() -> None:
    """Take back: the same is found more slowly."""
    for name, table, _, _ in reversed(INDEXES):
        op.drop_index(name, table)
