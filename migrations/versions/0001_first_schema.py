"""The first schema: resources and their change log, audit records, secrets, keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_Time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Everything, and the one row of `installation`: who this database is."""
    op.create_table(
        "installation",
        sa.Column("only_row", sa.Boolean, primary_key=True, server_default=sa.true()),
        sa.Column("epoch", UUID(as_uuid=True), nullable=False, server_default=sa.func.gen_random_uuid()),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("master_key_check", sa.LargeBinary, comment="absent until bootstrap"),
        sa.CheckConstraint("only_row", name=op.f("installation_one_row_check")),
    )
    op.execute("INSERT INTO installation DEFAULT VALUES")
    op.create_table(
        "resources",
        sa.Column("uid", UUID(as_uuid=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False, comment="empty for cluster-scoped kinds"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("deleted_at", _Time),
        sa.Column("labels", JSONB, nullable=False),
        sa.Column(
            "document", sa.JSON, nullable=False, comment="annotations, ownerReferences, finalizers, spec, status"
        ),
        sa.Column("unique_value", sa.Text, comment="the field no two objects of the kind may share"),
        sa.UniqueConstraint("kind", "namespace", "name", name="resources_name_key"),
        sa.UniqueConstraint("kind", "unique_value", name="resources_unique_value_key"),
    )
    op.create_table(
        "changes",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", _Time, nullable=False, server_default=sa.func.now()),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("uid", UUID(as_uuid=True), nullable=False),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
        sa.CheckConstraint("type IN ('ADDED', 'MODIFIED', 'DELETED')", name=op.f("changes_type_check")),
    )
    op.create_table(
        "audit_records",
        sa.Column("id", UUID(as_uuid=True), primary_key=True),
        sa.Column("at", _Time, nullable=False, server_default=sa.func.now()),
        sa.Column("revision", sa.BigInteger, comment="absent where nothing was written but a secret was shown"),
        sa.Column("principal", JSONB, nullable=False),
        sa.Column("verb", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("uid", UUID(as_uuid=True)),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
        sa.Column("note", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    )
    op.create_index("audit_records_at_idx", "audit_records", ["at"], postgresql_using="brin")
    op.create_table(
        "peppers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "secret_versions",
        sa.Column("account_uid", UUID(as_uuid=True), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("pepper_id", sa.Text, nullable=False),
        sa.Column("hmac", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, comment="the plaintext, kept until its driver acknowledges it"),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("handed_out_at", _Time),
        sa.Column("activated_at", _Time),
        sa.Column("acknowledged_at", _Time),
        sa.Column("retires_at", _Time),
        sa.Column("cut_at", _Time),
        sa.Column("hold_until", _Time),
        sa.Column("grace_s", sa.Double),
        sa.ForeignKeyConstraint(
            ["account_uid"],
            ["resources.uid"],
            name="secret_versions_account_uid_fkey",
            ondelete="CASCADE",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.ForeignKeyConstraint(["pepper_id"], ["peppers.id"], name="secret_versions_pepper_id_fkey"),
    )
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text, primary_key=True),
        sa.Column("keyset", sa.Text, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("public_jwk", sa.JSON, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("published_at", _Time),
        sa.Column("activated_at", _Time),
        sa.Column("retires_at", _Time),
        sa.Column("compromised_at", _Time),
    )


def downgrade() -> None:
    """An empty database. Everything in it is lost."""
    for table in (
        "signing_keys",
        "secret_versions",
        "peppers",
        "audit_records",
        "changes",
        "resources",
        "installation",
    ):
        op.drop_table(table)
