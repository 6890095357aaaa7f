"""Records: a short key, and no look-up of their connection for each of them."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

FOREIGN_KEY = "fk_records_connection_id_connections"


def upgrade() -> None:
    """Apply; a table with a million records takes some seconds, in which nobody writes to it."""
    with op.batch_alter_table("records") as records:
        records.drop_constraint(FOREIGN_KEY, type_="foreignkey")
        records.drop_constraint("pk_records", type_="primary")
        records.create_primary_key("pk_records", ["record_id", "feed_id"])


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("records") as records:
        records.drop_constraint("pk_records", type_="primary")
        records.create_primary_key("pk_records", ["connection_id", "entity", "record_id"])
        records.create_foreign_key(
            FOREIGN_KEY, "connections", ["connection_id"], ["id"], ondelete="CASCADE"
        )
