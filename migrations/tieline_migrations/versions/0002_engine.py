"""Schedules, consumers, copies, drift, findings, dead letters, views; partitions that split."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
UTC = sa.String(32).with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "views",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("fingerprint", sa.String(length=32), nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("updated_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_views"),
        sa.UniqueConstraint("provider", "entity", name="uq_views_provider_entity"),
    )
    op.create_table(
        "consumers",
        sa.Column("connection_id", sa.String(length=32), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("updated_at", UTC, nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_consumers_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", "entity", "name", name="pk_consumers"),
    )
    op.create_table(
        "copies",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("connection_id", sa.String(length=32), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("record_id", sa.String(length=255), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("source", sa.String(length=10), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.String(length=32), nullable=True),
        sa.Column("at", UTC, nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_copies_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_copies"),
    )
    op.create_index(
        "ix_copies_connection_id_entity_record_id",
        "copies",
        ["connection_id", "entity", "record_id"],
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("connection_id", sa.String(length=32), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=True),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.Column("reason_code", sa.String(length=60), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("settled_at", UTC, nullable=True),
        sa.Column("settled_how", sa.String(length=20), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_dead_letters_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_dead_letters"),
    )
    op.create_index("ix_dead_letters_created_at", "dead_letters", ["created_at"])
    op.create_table(
        "drift",
        sa.Column("connection_id", sa.String(length=32), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("field", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("first_seen_at", UTC, nullable=False),
        sa.Column("seen_at", UTC, nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_drift_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", "entity", "field", "kind", name="pk_drift"),
    )
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("connection_id", sa.String(length=32), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("rule", sa.String(length=120), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("jitter_s", sa.Integer(), nullable=False),
        sa.Column("full_every_s", sa.BigInteger(), nullable=True),
        sa.Column("next_at", UTC, nullable=False),
        sa.Column("paused_at", UTC, nullable=True),
        sa.Column("last_tick_at", UTC, nullable=True),
        sa.Column("last_run_id", sa.String(length=32), nullable=True),
        sa.Column("ticks", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("updated_at", UTC, nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_schedules_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_schedules"),
        sa.UniqueConstraint("connection_id", "entity", name="uq_schedules_connection_id_entity"),
    )
    op.create_index("ix_schedules_next_at", "schedules", ["next_at"])
    op.create_table(
        "findings",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("record_id", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("ours", sa.String(length=32), nullable=True),
        sa.Column("theirs", sa.String(length=32), nullable=True),
        sa.Column("found_at", UTC, nullable=False),
        sa.Column("repaired_at", UTC, nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_findings_run_id_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "record_id", name="pk_findings"),
    )
    op.add_column("partitions", sa.Column("reached_at", UTC, nullable=True))
    op.add_column("partitions", sa.Column("split_at", UTC, nullable=True))
    op.add_column("partitions", sa.Column("page_span_s", sa.Float(), nullable=True))
    op.add_column(
        "records",
        sa.Column("source", sa.String(length=10), server_default=sa.text("'list'"), nullable=False),
    )
    op.add_column(
        "runs",
        sa.Column(
            "may_split",
            sa.Boolean(name="may_split"),
            server_default=sa.text("true"),
            nullable=False,
        ),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("runs", "may_split")
    op.drop_column("records", "source")
    op.drop_column("partitions", "page_span_s")
    op.drop_column("partitions", "split_at")
    op.drop_column("partitions", "reached_at")
    op.drop_table("findings")
    op.drop_index("ix_schedules_next_at", table_name="schedules")
    op.drop_table("schedules")
    op.drop_table("drift")
    op.drop_index("ix_dead_letters_created_at", table_name="dead_letters")
    op.drop_table("dead_letters")
    op.drop_index("ix_copies_connection_id_entity_record_id", table_name="copies")
    op.drop_table("copies")
    op.drop_table("consumers")
    op.drop_table("views")
