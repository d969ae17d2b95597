"""Names in the place of uids in tables for people; JSON keeps the uids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from thingward.apps.cli.client import Client, Format, Refused
from thingward.model.device import Device, device_name


def named(
    client: Client,
    output: Format,
    items: Sequence[Mapping[str, Any]],
    *,
    device: str = "",
    person: str = "",
) -> list[Mapping[str, Any]]:
    """Put names where uids stand, in tables only.

    Args:
        device: field that holds a device's uid. person: field that holds who did it; `rule:UID` is a rule.
    """
    if output != "table" or not items:
        return list(items)
    devices = _devices(client) if device else {}
    people = _people(client, items, person) if person else {}
    rows: list[Mapping[str, Any]] = []
    for item in items:
        row = dict(item)
        if device:
            row[device] = devices.get(str(row.get(device)), row.get(device, ""))
        if person:
            row[person] = people.get(str(row.get(person)), row.get(person, ""))
        rows.append(row)
    return rows


def name_of(item: Mapping[str, Any]) -> str:
    """Give what to call a device that came as JSON."""
    try:
        return device_name(msgspec.convert(item, Device))
    except msgspec.ValidationError:
        return str(item.get("label") or item.get("uid") or "")


def _devices(client: Client) -> dict[str, str]:
    return {str(item["uid"]): name_of(item) for item in client.pages("/devices", params={"limit": 1000})}


def _people(client: Client, items: Sequence[Mapping[str, Any]], person: str) -> dict[str, str]:
    given = {str(item.get(person) or "") for item in items}
    found: dict[str, str] = {}
    try:
        me = client.call("GET", "/me")["user"]
        found[me["uid"]] = me["name"]
        if any(uid.startswith("rule:") for uid in given):
            found |= {f"rule:{row['uid']}": f"rule {row['name']}" for row in client.pages("/rules")}
        if given - found.keys():
            found |= {row["uid"]: row["name"] for row in client.pages("/users")}
    except Refused:
        # Listing users is an admin's; whoever may not keeps the uids.
        return found
    return found
