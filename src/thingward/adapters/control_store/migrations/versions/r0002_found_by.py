"""Find devices by maker and class, findings by suppression; make the table of suppressions."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ADDED = {"device": ("maker", "device_class"), "finding": ("suppressed",)}
DEFAULTS = {"maker": "", "device_class": "unknown", "suppressed": False}
SUPPRESSION = ("device", "rule", "removed")


def upgrade() -> None:
    """Add the columns and fill them from the records."""
    for table, fields in ADDED.items():
        for field in fields:
            op.add_column(table, sa.Column(f"by_{field}", sa.Text, nullable=False, server_default=""))
        _fill(table, fields)
        for field in fields:
            op.create_index(f"ix_{table}_{field}", table, ["tenant", f"by_{field}", "time", "uid"])
    op.create_table(
        "suppression",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("uid", sa.Text, primary_key=True),
        sa.Column("time", sa.Double, nullable=False),
        *(sa.Column(f"by_{field}", sa.Text, nullable=False) for field in SUPPRESSION),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("ix_suppression_time", "suppression", ["tenant", "time", "uid"])
    for field in SUPPRESSION:
        op.create_index(f"ix_suppression_{field}", "suppression", ["tenant", f"by_{field}", "time", "uid"])


def _fill(name: str, fields: tuple[str, ...]) -> None:
    names = ("tenant", "uid", "body", *(f"by_{field}" for field in fields))
    table = sa.table(name, *(sa.column(column) for column in names))
    connection = op.get_bind()
    rows = connection.execute(sa.select(table.c.tenant, table.c.uid, table.c.body)).all()
    for tenant, uid, body in rows:
        record = json.loads(body)
        values = {f"by_{field}": _text(field, record.get(field, DEFAULTS[field])) for field in fields}
        connection.execute(table.update().where(table.c.tenant == tenant, table.c.uid == uid).values(values))


def _text(field: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value).replace("\0", "").encode("utf-8", "replace").decode()
    return text.lower() if field == "maker" else text
