"""The record: decisions by day and in chains, what shows that nobody touched them, and usage, which is folded from them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_UUID = UUID(as_uuid=True)
_NAME = sa.Text(collation="C")


# Whoever writes records makes the days they need, and need not own the table for that. A day is empty when it is made, and
# nobody makes them without end.
_MAKE_DAY = """
    CREATE FUNCTION make_decision_day(day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DECLARE
        name text := 'decision_records_' || to_char(day, 'YYYYMMDD');
        ends text[] := ARRAY(
            SELECT lpad(to_hex((extract(epoch FROM day + more) * 1000)::bigint), 12, '0') || repeat('0', 20)
            FROM unnest(ARRAY[0, 1]) AS more ORDER BY more
        );
    BEGIN
        IF abs(day - current_date) > 36525 THEN
            RAISE EXCEPTION 'no day within a hundred years of today';
        END IF;
        -- Two processes do not make the same day at once.
        PERFORM pg_advisory_xact_lock(x'1550E772656364'::bigint);
        -- Looked up as rows are: what a name meant before the lock was waited for may be remembered.
        IF NOT EXISTS (SELECT FROM pg_class c JOIN pg_class d USING (relnamespace)
                       WHERE c.relname = name AND d.oid = 'decision_records'::regclass) THEN
            -- Made beside the others and attached: decisions are written meanwhile.
            EXECUTE format('CREATE TABLE %I (LIKE decision_records INCLUDING ALL)', name);
            EXECUTE format('ALTER TABLE decision_records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           name, ends[1], ends[2]);
        END IF;
    END $$
"""


def upgrade() -> None:
    """Partitions are made when they are needed: which days there are is a matter of time, not of the schema."""
    _decisions()
    _evidence()
    _usage()


def _decisions() -> None:
    op.create_table(
        "audit_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("public_jwk", sa.JSON, comment="absent of a key that is secret as a whole"),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("purpose IN ('chain', 'checkpoint')", name=op.f("audit_keys_purpose_check")),
    )
    op.create_table(
        "record_chains",
        sa.Column("writer", _UUID, primary_key=True),
        sa.Column("key_id", sa.Text, sa.ForeignKey("audit_keys.id"), nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("started_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("sequence", sa.BigInteger, nullable=False, comment="of the last record its writer told of"),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.Column("told_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("ended", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "decision_records",
        sa.Column("id", _UUID, primary_key=True, comment="a UUIDv7: the order of ids is the order of time"),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False, comment="issued, or the name of the refusal"),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("account_uid", _UUID, nullable=False),
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
        sa.Column("writer", _UUID, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("decision_records_account_uid_id_idx", "decision_records", ["account_uid", "id"])
    op.execute(_MAKE_DAY)


def _evidence() -> None:
    """Every revision has one administrative record, written with it, so their uniqueness holds already."""
    op.add_column(
        "record_chains", sa.Column("dropped_sequence", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    )
    op.add_column(
        "record_chains", sa.Column("dropped_mac", sa.LargeBinary, nullable=False, server_default=sa.text("''::bytea"))
    )
    op.add_column(
        "record_chains", sa.Column("stated_sequence", sa.BigInteger, comment="absent: no checkpoint speaks of it yet")
    )
    op.add_column("record_chains", sa.Column("stated_dropped", sa.BigInteger))
    op.create_table(
        "checkpoints",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("full", sa.Boolean, nullable=False),
        sa.Column("text", sa.Text, nullable=False, comment="a compact JWS: what it says, signed"),
    )
    op.create_table(
        "record_exports",
        sa.Column("name", sa.Text, primary_key=True, comment="of the file"),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("exported_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("stated", sa.BigInteger, comment="the checkpoint that names it; absent: none does yet"),
        sa.Column("dropped_at", _TIME, comment="when the records left the database"),
    )
    op.create_table(
        "audit_seals",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("record_id", UUID(as_uuid=True), nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.Column("revision_reached", sa.BigInteger, nullable=False, comment="all revisions up to it are sealed"),
        sa.Column("sealed_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("record_id", name=op.f("audit_seals_record_id_key")),
    )
    op.create_index("audit_records_revision_idx", "audit_records", ["revision"], unique=True)
    op.create_index(
        "audit_records_without_revision_idx",
        "audit_records",
        ["id"],
        postgresql_where=sa.text("revision IS NULL"),
    )


def _usage() -> None:
    """Nothing is folded here: the first folder begins with the oldest record there is."""
    op.create_table(
        "usage_days",
        sa.Column("account_uid", _UUID, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True, comment="in UTC"),
        sa.Column(
            "what", sa.Text, primary_key=True, comment="what the numbers are of: account, credential, scope or source"
        ),
        sa.Column(
            "key", _NAME, primary_key=True, comment="which of them; empty: of the account itself, or of all the rest"
        ),
        sa.Column("audience", _NAME, primary_key=True, comment="of a scope; empty where there is none"),
        sa.Column("issued", sa.BigInteger, nullable=False),
        sa.Column("refused", sa.BigInteger, nullable=False),
        sa.Column("first_at", _TIME, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.CheckConstraint("what IN ('account', 'credential', 'scope', 'source')", name=op.f("usage_days_what_check")),
    )
    op.create_index("usage_days_day_idx", "usage_days", ["day"], postgresql_using="brin")
    op.create_table(
        "usage_positions",
        sa.Column("writer", _UUID, primary_key=True),
        sa.Column("id", _UUID, nullable=False, comment="of the last record that is folded"),
        sa.Column(
            "sequence", sa.BigInteger, nullable=False, comment="of the same; all of the writer up to it are folded"
        ),
        sa.Column(
            "complete", sa.Boolean, nullable=False, comment="its writer is gone, and was looked at once more since"
        ),
    )
    op.create_table(
        "refusal_counts",
        sa.Column("minute", _TIME, primary_key=True),
        sa.Column("writer", _UUID, primary_key=True, comment="the lifetime of the process that counted"),
        sa.Column("reason", sa.Text, primary_key=True),
        sa.Column("client_id", sa.Text, primary_key=True, comment="unknown, other, or an account's"),
        sa.Column("source", sa.Text, primary_key=True, comment="other, or a network"),
        sa.Column("count", sa.BigInteger, nullable=False, comment="of the whole minute so far"),
    )


def downgrade() -> None:
    """What was recorded is gone: export it before. Administrative records stay."""
    op.drop_table("refusal_counts")
    op.drop_table("usage_positions")
    op.drop_table("usage_days")
    op.drop_index("audit_records_without_revision_idx", "audit_records")
    op.drop_index("audit_records_revision_idx", "audit_records")
    op.drop_table("audit_seals")
    op.drop_table("record_exports")
    op.drop_table("checkpoints")
    op.execute("DROP FUNCTION make_decision_day")
    op.drop_table("decision_records")
    op.drop_table("record_chains")
    op.drop_table("audit_keys")
