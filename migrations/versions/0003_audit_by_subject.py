"""Audit records of one object, the newest first, without reading everybody's."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Ids begin with the time, so the index has the order of the list."""
    op.create_index("audit_records_uid_id_idx", "audit_records", ["uid", "id"])


def downgrade() -> None:
    """One index less."""
    op.drop_index("audit_records_uid_id_idx", "audit_records")
