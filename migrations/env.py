"""Runs migrations on the connection `issuer.store.schema` hands over. There is no other way in, and no offline mode."""

from alembic import context

from issuer.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
