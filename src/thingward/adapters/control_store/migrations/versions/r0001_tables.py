"""Make one table per kind of record."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

FIELDS = {
    "device": ("site", "mode", "kind", "identified", "group", "merged_into"),
    "correction": ("device",),
    "site": ("name",),
    "profile": ("device", "site", "origin"),
    "preview": ("device", "profile", "site"),
    "finding": ("device", "rule", "severity", "is_alert", "case", "site", "key", "class_uid"),
    "case": ("device", "state", "severity", "site", "assignee"),
    "action": ("device", "state", "kind", "case", "site"),
    "outcome": ("action", "status"),
    "approval": ("device", "state", "scope", "target", "site"),
    "rule": ("enabled", "site"),
    "principal": ("name", "role", "disabled"),
    "token": ("digest", "principal", "revoked"),
    "session": ("digest", "principal", "link"),
    "audit": ("principal", "action", "target", "result", "request"),
    "ledger": ("kind", "record", "sequence"),
    "setting": ("name",),
}


def upgrade() -> None:
    """Make the tables and their indexes."""
    for table, fields in FIELDS.items():
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
