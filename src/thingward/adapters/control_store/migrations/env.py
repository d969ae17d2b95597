"""What Alembic runs: it gets an open transaction from `sql._migrate`, and nothing else."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
