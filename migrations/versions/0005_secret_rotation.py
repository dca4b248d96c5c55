"""Secrets that rotate themselves: what is due is found by an index, and accounts follow their policies walk by walk."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NAME = sa.Text(collation="C")


def upgrade() -> None:
    """Every account is looked at once: the walk begins before the first revision."""
    op.create_index(
        "resources_next_rotation_idx",
        "resources",
        [sa.text("(document #>> '{status,nextCredentialRotation}')")],
        postgresql_where=sa.text(
            "kind = 'ServiceAccount' AND document #>> '{status,nextCredentialRotation}' IS NOT NULL"
        ),
    )
    op.add_column(
        "secret_versions", sa.Column("overdue_at", _TIME, comment="when somebody was told that nobody stores it")
    )
    op.create_index(
        "secret_versions_hold_until_idx",
        "secret_versions",
        ["hold_until"],
        postgresql_where=sa.text("activated_at IS NULL AND cut_at IS NULL AND hold_until IS NOT NULL"),
    )
    op.create_index(
        "secret_versions_undelivered_idx",
        "secret_versions",
        ["created_at"],
        postgresql_where=sa.text("sealed IS NOT NULL AND overdue_at IS NULL"),
    )
    op.create_table(
        "rotation_walk",
        sa.Column("only_row", sa.Boolean, primary_key=True, server_default=sa.true()),
        sa.Column("done", sa.BigInteger, nullable=False, comment="accounts follow the policies of this revision"),
        sa.Column("target", sa.BigInteger, comment="the revision a walk through the accounts brings them to"),
        sa.Column("namespaces", sa.ARRAY(sa.Text), comment="those it looks into; absent: all"),
        sa.Column("after_namespace", _NAME, nullable=False, server_default=""),
        sa.Column("after_name", _NAME, nullable=False, server_default=""),
        sa.CheckConstraint("only_row", name=op.f("rotation_walk_one_row_check")),
    )
    op.execute("INSERT INTO rotation_walk (done) VALUES (-1)")


def downgrade() -> None:
    """Nothing rotates by itself any more."""
    op.drop_table("rotation_walk")
    op.drop_index("secret_versions_undelivered_idx", "secret_versions")
    op.drop_index("secret_versions_hold_until_idx", "secret_versions")
    op.drop_column("secret_versions", "overdue_at")
    op.drop_index("resources_next_rotation_idx", "resources")
