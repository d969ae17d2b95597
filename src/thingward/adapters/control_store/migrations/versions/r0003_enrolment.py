"""Make the tables of claims, enrolments and certificates."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = {
    "claim": ("digest", "device", "name", "state"),
    "enrolment": ("claim", "device", "key", "state"),
    "certificate": ("device", "enrolment", "identity", "key", "state"),
}


def upgrade() -> None:
    """Make the tables and their indexes."""
    for table, fields in TABLES.items():
        op.create_table(
            table,
            sa.Column("tenant", sa.Text, primary_key=True),
            sa.Column("uid", sa.Text, primary_key=True),
            sa.Column("time", sa.Double, nullable=False),
            *(sa.Column(f"by_{field}", sa.Text, nullable=False) for field in fields),
            sa.Column("search", sa.Text, nullable=False),
            sa.Column("body", sa.Text, nullable=False),
        )
        op.create_index(f"ix_{table}_time", table, ["tenant", "time", "uid"])
        for field in fields:
            op.create_index(f"ix_{table}_{field}", table, ["tenant", f"by_{field}", "time", "uid"])
