"""The schema, as SQLAlchemy Core. A test holds it and the migrations to each other.

`installation` has one row: who this database is, the one counter of revisions, and the check value of the master key.
`resources` holds objects of all kinds. Documents are `json`, not `jsonb`: they are read whole, and keep the order of their
fields; labels are `jsonb`, because selectors search them. Side tables hang on the identity of an account or a KeySet.
`decision_records` has a partition for every day (`store.partitions`); its columns are `record.decision`'s fields. What shows
that nobody touched the records: `record_chains` (how far each has come), `audit_seals` (the chain of `audit_records`) and
`checkpoints`, which sign both. `usage_days` is what was folded from the decisions (`store.folding`), `refusal_counts` what
strangers were refused, in numbers.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, UUID

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "ix": "%(table_name)s_%(column_0_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

_Time = sa.DateTime(timezone=True)
_Name = sa.Text(collation="C")
"""In the order of bytes, as Python sorts: pages are put together here and there."""

installation = sa.Table(
    "installation",
    metadata,
    sa.Column("only_row", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("epoch", UUID(as_uuid=True), nullable=False, server_default=sa.func.gen_random_uuid()),
    sa.Column("revision", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("master_key_check", sa.LargeBinary, comment="absent until bootstrap"),
    sa.Column("trimmed_to", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.CheckConstraint("only_row", name="one_row"),
)

resources = sa.Table(
    "resources",
    metadata,
    sa.Column("uid", UUID(as_uuid=True), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("namespace", _Name, nullable=False, comment="empty for cluster-scoped kinds"),
    sa.Column("name", _Name, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("created_at", _Time, nullable=False),
    sa.Column("deleted_at", _Time),
    sa.Column("labels", JSONB, nullable=False),
    sa.Column("document", sa.JSON, nullable=False, comment="annotations, ownerReferences, finalizers, spec, status"),
    sa.Column("unique_value", sa.Text, comment="the field no two objects of the kind may share"),
    sa.UniqueConstraint("kind", "namespace", "name", name="resources_name_key"),
    sa.UniqueConstraint("kind", "unique_value", name="resources_unique_value_key"),
    sa.Index("resources_labels_idx", "labels", postgresql_using="gin"),
    sa.Index(
        "resources_expires_at_idx",
        sa.text("(document #>> '{spec,expiresAt}')"),
        postgresql_where=sa.text(
            "kind = 'ServiceAccount' AND document #>> '{status,phase}' IN ('Pending', 'Active')"
            " AND document #>> '{spec,expiresAt}' IS NOT NULL"
        ),
    ),
    sa.Index(
        "resources_next_rotation_idx",
        sa.text("(document #>> '{status,nextCredentialRotation}')"),
        postgresql_where=sa.text(
            "kind = 'ServiceAccount' AND document #>> '{status,nextCredentialRotation}' IS NOT NULL"
        ),
    ),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("namespace", _Name, nullable=False),
    sa.Column("name", _Name, nullable=False),
    sa.Column("uid", UUID(as_uuid=True), nullable=False),
    sa.Column("before", sa.JSON),
    sa.Column("after", sa.JSON),
    sa.Column("previous_revision", sa.BigInteger, comment="of the object before; absent: new"),
    sa.CheckConstraint("type IN ('ADDED', 'MODIFIED', 'DELETED')", name="type"),
)

audit_records = sa.Table(
    "audit_records",
    metadata,
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
    sa.Index("audit_records_at_idx", "at", postgresql_using="brin"),
    sa.Index("audit_records_uid_id_idx", "uid", "id"),
    sa.Index("audit_records_revision_idx", "revision", unique=True),
    sa.Index("audit_records_without_revision_idx", "id", postgresql_where=sa.text("revision IS NULL")),
)

audit_seals = sa.Table(
    "audit_seals",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("record_id", UUID(as_uuid=True), nullable=False, unique=True),
    sa.Column("mac", sa.LargeBinary, nullable=False),
    sa.Column("revision_reached", sa.BigInteger, nullable=False, comment="all revisions up to it are sealed"),
    sa.Column("sealed_at", _Time, nullable=False, server_default=sa.func.now()),
)

peppers = sa.Table(
    "peppers",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("created_at", _Time, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)

secret_versions = sa.Table(
    "secret_versions",
    metadata,
    sa.Column(
        "account_uid",
        UUID(as_uuid=True),
        # Deferred: version 1 is written before its account, whose statement takes the counter and comes last.
        sa.ForeignKey("resources.uid", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        primary_key=True,
    ),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("pepper_id", sa.Text, sa.ForeignKey("peppers.id"), nullable=False),
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
    sa.Column("overdue_at", _Time, comment="when somebody was told that nobody stores it"),
    sa.Index(
        "secret_versions_hold_until_idx",
        "hold_until",
        postgresql_where=sa.text("activated_at IS NULL AND cut_at IS NULL AND hold_until IS NOT NULL"),
    ),
    sa.Index(
        "secret_versions_undelivered_idx",
        "created_at",
        postgresql_where=sa.text("sealed IS NOT NULL AND overdue_at IS NULL"),
    ),
)

rotation_walk = sa.Table(
    "rotation_walk",
    metadata,
    sa.Column("only_row", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("done", sa.BigInteger, nullable=False, comment="accounts follow the policies of this revision"),
    sa.Column("target", sa.BigInteger, comment="the revision a walk through the accounts brings them to"),
    sa.Column("namespaces", sa.ARRAY(sa.Text), comment="those it looks into; absent: all"),
    sa.Column("after_namespace", _Name, nullable=False, server_default=""),
    sa.Column("after_name", _Name, nullable=False, server_default=""),
    sa.CheckConstraint("only_row", name="one_row"),
)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
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
    sa.Column("signed_ttl_s", sa.Double, nullable=False, server_default=sa.text("0")),
)

audit_keys = sa.Table(
    "audit_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("created_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("public_jwk", sa.JSON, comment="absent of a key that is secret as a whole"),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.CheckConstraint("purpose IN ('chain', 'checkpoint')", name="purpose"),
)

record_chains = sa.Table(
    "record_chains",
    metadata,
    sa.Column("writer", UUID(as_uuid=True), primary_key=True),
    sa.Column("key_id", sa.Text, sa.ForeignKey("audit_keys.id"), nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("started_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("sequence", sa.BigInteger, nullable=False, comment="of the last record its writer told of"),
    sa.Column("mac", sa.LargeBinary, nullable=False),
    sa.Column("told_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("ended", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("dropped_sequence", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("dropped_mac", sa.LargeBinary, nullable=False, server_default=sa.text("''::bytea")),
    sa.Column("stated_sequence", sa.BigInteger, comment="absent: no checkpoint speaks of it yet"),
    sa.Column("stated_dropped", sa.BigInteger),
)

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", _Time, nullable=False),
    sa.Column("full", sa.Boolean, nullable=False),
    sa.Column("text", sa.Text, nullable=False, comment="a compact JWS: what it says, signed"),
)

record_exports = sa.Table(
    "record_exports",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, comment="of the file"),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.LargeBinary, nullable=False),
    sa.Column("exported_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("stated", sa.BigInteger, comment="the checkpoint that names it; absent: none does yet"),
    sa.Column("dropped_at", _Time, comment="when the records left the database"),
)

decision_records = sa.Table(
    "decision_records",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True, comment="a UUIDv7: the order of ids is the order of time"),
    sa.Column("at", _Time, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False, comment="issued, or the name of the refusal"),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("account_uid", UUID(as_uuid=True), nullable=False),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("account_revision", sa.BigInteger, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("credential", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("requested_scope", sa.Text, comment="absent: none was asked for"),
    sa.Column("requested_audience", sa.Text, comment="absent: none was asked for"),
    sa.Column("scope", sa.Text),
    sa.Column("audience", sa.Text),
    sa.Column("ttl_s", sa.Integer),
    sa.Column("jti", sa.Text),
    sa.Column("kid", sa.Text),
    sa.Column("policies", sa.JSON, nullable=False, comment="with a say: pairs of a policy and its revision"),
    sa.Column("trace_id", sa.Text),
    sa.Column("writer", UUID(as_uuid=True), nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
    sa.Index("decision_records_account_uid_id_idx", "account_uid", "id"),
    postgresql_partition_by="RANGE (id)",
)

usage_days = sa.Table(
    "usage_days",
    metadata,
    sa.Column("account_uid", UUID(as_uuid=True), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True, comment="in UTC"),
    sa.Column(
        "what", sa.Text, primary_key=True, comment="what the numbers are of: account, credential, scope or source"
    ),
    sa.Column(
        "key", _Name, primary_key=True, comment="which of them; empty: of the account itself, or of all the rest"
    ),
    sa.Column("audience", _Name, primary_key=True, comment="of a scope; empty where there is none"),
    sa.Column("issued", sa.BigInteger, nullable=False),
    sa.Column("refused", sa.BigInteger, nullable=False),
    sa.Column("first_at", _Time, nullable=False),
    sa.Column("last_at", _Time, nullable=False),
    sa.CheckConstraint("what IN ('account', 'credential', 'scope', 'source')", name="what"),
    sa.Index("usage_days_day_idx", "day", postgresql_using="brin"),
)

usage_positions = sa.Table(
    "usage_positions",
    metadata,
    sa.Column("writer", UUID(as_uuid=True), primary_key=True),
    sa.Column("id", UUID(as_uuid=True), nullable=False, comment="of the last record that is folded"),
    sa.Column("sequence", sa.BigInteger, nullable=False, comment="of the same; all of the writer up to it are folded"),
    sa.Column("complete", sa.Boolean, nullable=False, comment="its writer is gone, and was looked at once more since"),
)

refusal_counts = sa.Table(
    "refusal_counts",
    metadata,
    sa.Column("minute", _Time, primary_key=True),
    sa.Column("writer", UUID(as_uuid=True), primary_key=True, comment="the lifetime of the process that counted"),
    sa.Column("reason", sa.Text, primary_key=True),
    sa.Column("client_id", sa.Text, primary_key=True, comment="unknown, other, or an account's"),
    sa.Column("source", sa.Text, primary_key=True, comment="other, or a network"),
    sa.Column("count", sa.BigInteger, nullable=False, comment="of the whole minute so far"),
)
