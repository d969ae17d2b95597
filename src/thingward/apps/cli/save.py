"""`guard --save`: hand what was learnt to the running platform, where it can be approved."""

from __future__ import annotations

import sys

import msgspec

from thingward.apps.cli.client import connect
from thingward.runtime.guard_result import GuardResult, result_batches


def platform_site() -> str:
    """Give the running platform's site, so that what is saved is its own devices; raises Unavailable if none runs."""
    rows = connect().call("GET", "/settings")["items"]
    return next((str(row["value"]) for row in rows if row["name"] == "site.name"), "")


def save_result(result: GuardResult) -> None:
    """Send devices, profiles, previews and findings; raises Unavailable if no platform runs."""
    name = ", ".join(report.source.rsplit("/", 1)[-1] for report in result.sources if report.is_capture)[:200]
    client = connect()
    for batch in result_batches(result):
        content = client.raw("POST", "/imports", params={"name": name}, content=batch)
        for line in msgspec.json.decode(content).get("plan", ()):
            sys.stderr.write(f"thingward: saved: {line}\n")
