"""Lists at a revision, selectors, watches: names in byte order, an index on labels, a change log that can be trimmed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_EXPIRING = (
    "kind = 'ServiceAccount' AND document #>> '{status,phase}' IN ('Pending', 'Active')"
    " AND document #>> '{spec,expiresAt}' IS NOT NULL"
)


def upgrade() -> None:
    """The order of names is that of their bytes from here on: pages are put together outside the database, too."""
    for table in ("resources", "changes"):
        for column in ("namespace", "name"):
            op.alter_column(table, column, type_=sa.Text(collation="C"))
    op.add_column("installation", sa.Column("trimmed_to", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.add_column("changes", sa.Column("previous_revision", sa.BigInteger, comment="of the object before; absent: new"))
    op.create_index("resources_labels_idx", "resources", ["labels"], postgresql_using="gin")
    op.create_index(
        "resources_expires_at_idx",
        "resources",
        [sa.text("(document #>> '{spec,expiresAt}')")],
        postgresql_where=sa.text(_EXPIRING),
    )


def downgrade() -> None:
    """Back to the database's own order."""
    op.drop_index("resources_expires_at_idx", "resources")
    op.drop_index("resources_labels_idx", "resources")
    op.drop_column("changes", "previous_revision")
    op.drop_column("installation", "trimmed_to")
    for table in ("resources", "changes"):
        for column in ("namespace", "name"):
            op.alter_column(table, column, type_=sa.Text(collation="default"))
