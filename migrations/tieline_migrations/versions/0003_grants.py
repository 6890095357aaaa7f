"""Grants of OAuth 2; why a connection is in trouble; pauses."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
UTC = sa.String(32).with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "grants",
        sa.Column("connection_id", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("scopes", JSON, nullable=True),
        sa.Column("access_expires_at", UTC, nullable=True),
        sa.Column("refresh_expires_at", UTC, nullable=True),
        sa.Column("refreshed_at", UTC, nullable=False),
        sa.Column("previous_until", UTC, nullable=True),
        sa.Column("lease_owner", sa.String(length=120), nullable=True),
        sa.Column("lease_until", UTC, nullable=True),
        sa.Column("retry_at", UTC, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("warned_days", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_grants_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", name="pk_grants"),
    )
    op.add_column("connections", sa.Column("trouble", sa.Text(), nullable=True))
    op.add_column("connections", sa.Column("trouble_at", UTC, nullable=True))
    op.add_column("connections", sa.Column("paused_at", UTC, nullable=True))


def downgrade() -> None:
    """Take back."""
    # No batch: on SQLite that makes the table anew, and its DROP empties what hangs on it.
    for name in ("paused_at", "trouble_at", "trouble"):
        op.drop_column("connections", name)
    op.drop_table("grants")
