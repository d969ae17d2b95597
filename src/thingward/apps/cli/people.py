"""`user`, `token`, `rule`, `limits`, `notify`: how the platform is run and by whom."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from thingward.apps.cli.client import DryRun, Output, connect, parse_duration, show, show_facts, show_one, show_result
from thingward.apps.cli.words import duration_text, time_text
from thingward.model.errors import InvalidInput

user = App(name="user")
token = App(name="token")
rule = App(name="rule")
limits = App(name="limits")
notify = App(name="notify")

RoleName = Literal["viewer", "operator", "approver", "admin"]


@user.command(name="list")
def list_users(*, output: Output = "table") -> None:
    """List users."""
    show(
        output,
        list(connect().pages("/users")),
        {"name": "name", "role": "role", "disabled": "disabled", "last seen (UTC)": "time:last_seen"},
    )


@user.command(name="set", alias="put")
def put_user(
    name: str,
    *,
    role: RoleName,
    email: str = "",
    disabled: bool = False,
    password_file: Annotated[
        Path | None, Parameter(help="File with the password; without it only login links work.")
    ] = None,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Create or change a user. A password is read from a file, never from the command line."""
    password = password_file.read_text(encoding="utf-8").rstrip("\n") if password_file else ""
    body = {"role": role, "email": email, "disabled": disabled, "password": password}
    show_result(output, connect().call("PUT", f"/users/{name}", body=body, dry_run=dry_run))


@user.command(name="link")
def make_link(name: str = "admin", *, dry_run: DryRun = False, output: Output = "table") -> None:
    """Print a one-time login link: it works once, for 15 minutes."""
    client = connect()
    made = client.call("POST", f"/users/{name}/login-link", dry_run=dry_run)
    if dry_run:
        show_result(output, {"dry_run": True, "plan": [f"a login link for {name}, for 15 minutes"]})
    elif output == "table":
        sys.stdout.write(f"{client.url}{made['path']}\n")
    else:
        show_one(output, {**made, "url": f"{client.url}{made['path']}"})


@token.command(name="list")
def list_tokens(*, output: Output = "table") -> None:
    """List tokens."""
    columns = {"uid": "uid", "name": "name", "scopes": "scopes", "until (UTC)": "time:expires", "revoked": "revoked"}
    show(output, list(connect().pages("/tokens")), columns)


@token.command(name="create")
def create_token(
    name: str,
    *,
    scope: Annotated[list[str], Parameter(help="What it may do, for example devices:read; may be given again.")],
    ttl: Annotated[str, Parameter(help="For how long: 90s, 15m, 2h, 7d.")] = "30d",
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Make a token for yourself; its secret is printed once."""
    body = {"name": name, "scopes": scope, "ttl_s": parse_duration(ttl)}
    made = connect().call("POST", "/tokens", body=body, dry_run=dry_run)
    if dry_run:
        plan = f"a token {name} that may {', '.join(made['token']['scopes'])}, until {time_text(made['token']['expires'])} UTC"
        show_result(output, {"dry_run": True, "plan": [plan]})
    elif output == "table":
        sys.stdout.write(f"{made['secret']}\n")
    else:
        show_one(output, made)


@token.command(name="revoke")
def revoke_token(uid: str, *, dry_run: DryRun = False, output: Output = "table") -> None:
    """Revoke a token at once."""
    show_result(output, connect().call("DELETE", f"/tokens/{uid}", dry_run=dry_run))


@rule.command(name="list")
def list_rules(*, output: Output = "table") -> None:
    """List response rules."""
    columns = {
        "uid": "uid",
        "name": "name",
        "findings": "rules",
        "least severity": "min_severity",
        "action": "action",
        "enabled": "enabled",
        "by": "by",
    }
    show(output, list(connect().pages("/rules")), columns)


@rule.command(name="set", alias="put")
def put_rule(
    name: str,
    *,
    finding: Annotated[list[str], Parameter(help="Finding rule, or prefix ending in *; may be given again.")],
    min_severity: int = 4,
    ttl: Annotated[str, Parameter(help="How long a quarantine lasts.")] = "1h",
    enabled: bool = False,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Write a rule that quarantines by itself, within limits. It acts only when enabled."""
    body = {
        "name": name,
        "rules": finding,
        "min_severity": min_severity,
        "ttl_s": parse_duration(ttl),
        "enabled": enabled,
    }
    show_result(output, connect().call("POST", "/rules", body=body, dry_run=dry_run))


@rule.command(name="delete")
def delete_rule(uid: str, *, dry_run: DryRun = False, output: Output = "table") -> None:
    """Delete a rule."""
    show_result(output, connect().call("DELETE", f"/rules/{uid}", dry_run=dry_run))


@limits.command(name="show")
def show_limits(*, output: Output = "table") -> None:
    """Show limits and the never-block list; `-o json` is what `limits set` takes."""
    found = connect().call("GET", "/limits")
    if output != "table":
        show_one(output, found)
        return
    never = found["never_block"]
    show_facts(
        {
            "devices quarantined per hour": f"{found['fleet_share_per_hour']:.0%} of a site's, at least {found['min_devices_per_hour']}",
            "longest quarantine": duration_text(found["max_ttl_s"]),
            "never blocked": ", ".join(never) or "none",
        }
    )


@limits.command(name="set")
def set_limits(
    file: Annotated[Path, Parameter(help="JSON file as printed by `limits show -o json`.")],
    *,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Replace limits and the never-block list."""
    try:
        body = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidInput(f"cannot read {file}: {error}.") from error
    show_result(output, connect().call("PUT", "/limits", body=body, dry_run=dry_run))


@notify.command(name="test")
def test_channel(
    channel: Literal["webhook", "email", "syslog"], *, dry_run: DryRun = False, output: Output = "table"
) -> None:
    """Send a test message through one channel."""
    show_result(output, connect().call("POST", "/notifications/test", body={"channel": channel}, dry_run=dry_run))
