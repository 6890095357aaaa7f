"""The inbox: endpoints and their secrets, events, who drains."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
UTC = sa.String(32).with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("environment", sa.String(length=40), nullable=False),
        sa.Column("connection_id", sa.String(length=32), nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("scheme_level", sa.String(length=20), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("expects_every_s", sa.BigInteger(), nullable=True),
        sa.Column("last_received_at", UTC, nullable=True),
        sa.Column("served_at", UTC, nullable=True),
        sa.Column("caught_up_at", UTC, nullable=True),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("updated_at", UTC, nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_webhook_endpoints_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_endpoints"),
    )
    op.create_index("ix_webhook_endpoints_connection_id", "webhook_endpoints", ["connection_id"])
    op.create_table(
        "webhook_secrets",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("endpoint_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("key_id", sa.String(length=80), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("made_at", UTC, nullable=False),
        sa.Column("retires_at", UTC, nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name="fk_webhook_secrets_endpoint_id_webhook_endpoints",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_secrets"),
    )
    op.create_index("ix_webhook_secrets_endpoint_id", "webhook_secrets", ["endpoint_id"])
    op.create_table(
        "webhook_events",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("endpoint_id", sa.String(length=32), nullable=False),
        sa.Column("event_key", sa.String(length=255), nullable=False),
        sa.Column("connection_id", sa.String(length=32), nullable=False),
        sa.Column("type", sa.String(length=255), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=True),
        sa.Column("record_key", sa.String(length=255), nullable=True),
        sa.Column("occurred_at", UTC, nullable=True),
        sa.Column("received_at", UTC, nullable=False),
        sa.Column("delivery_id", sa.String(length=32), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("headers", JSON, nullable=True),
        sa.Column("record", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", UTC, nullable=False),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("dead_kind", sa.String(length=10), nullable=True),
        sa.Column("handled_at", UTC, nullable=True),
        sa.Column("replays", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_webhook_events_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_webhook_events"),
        sa.UniqueConstraint("id", name="uq_webhook_events_id"),
        sa.UniqueConstraint(
            "endpoint_id", "event_key", name="uq_webhook_events_endpoint_id_event_key"
        ),
    )
    is_pending, is_dead = sa.text("state = 'pending'"), sa.text("state = 'dead'")
    op.create_index(
        "ix_webhook_events_pending",
        "webhook_events",
        ["connection_id", "seq"],
        sqlite_where=is_pending,
        postgresql_where=is_pending,
    )
    is_handled = sa.text("handled_at IS NOT NULL")
    op.create_index(
        "ix_webhook_events_handled",
        "webhook_events",
        ["handled_at"],
        sqlite_where=is_handled,
        postgresql_where=is_handled,
    )
    op.create_index(
        "ix_webhook_events_dead",
        "webhook_events",
        ["seq"],
        sqlite_where=is_dead,
        postgresql_where=is_dead,
    )
    op.create_table(
        "webhook_drains",
        sa.Column("connection_id", sa.String(length=32), nullable=False),
        sa.Column("lease_until", UTC, nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(length=120), nullable=True),
        sa.Column("rescues", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_webhook_drains_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", name="pk_webhook_drains"),
    )


def downgrade() -> None:
    """Take back."""
    for table in ("webhook_drains", "webhook_events", "webhook_secrets", "webhook_endpoints"):
        op.drop_table(table)
