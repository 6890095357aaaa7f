"""What people operate: queues that are held, and the secret that let each event in."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UTC = sa.String(32).with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "queue_pauses",
        sa.Column("queue", sa.String(length=80), nullable=False),
        sa.Column("paused_at", UTC, nullable=False),
        sa.Column("paused_by", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("queue", name="pk_queue_pauses"),
    )
    op.add_column("webhook_events", sa.Column("verified_with", sa.String(length=32), nullable=True))


def downgrade() -> None:
    """Take back: workers take jobs again."""
    op.drop_column("webhook_events", "verified_with")
    op.drop_table("queue_pauses")
