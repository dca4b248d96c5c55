"""How long tokens may have lived while a key signed them: what its retention is made of."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keys that signed before anybody kept it may have signed the longest there could be: a day."""
    op.add_column("signing_keys", sa.Column("signed_ttl_s", sa.Double, nullable=False, server_default=sa.text("0")))
    op.execute("UPDATE signing_keys SET signed_ttl_s = 86400 WHERE activated_at IS NOT NULL")


def downgrade() -> None:
    """One column less."""
    op.drop_column("signing_keys", "signed_ttl_s")
