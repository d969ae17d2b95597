"""`claim`, `enrolment`, `certificate`: how devices get certificates, and lose them."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from thingward.apps.cli.client import DryRun, Output, connect, parse_duration, show, show_one, show_result
from thingward.model.certificate import RevocationReason
from thingward.model.errors import InvalidInput

claim = App(name="claim")
enrolment = App(name="enrolment")
certificate = App(name="certificate")

Why = Annotated[str, Parameter(help="Kept with the decision.")]


@claim.command(name="create")
def create_claim(
    name: str = "",
    *,
    file: Annotated[
        Path | None, Parameter(name="--csv", help="CSV file: name, and any of serial, kind, device.")
    ] = None,
    serial: Annotated[str, Parameter(help="The maker's serial number.")] = "",
    kind: str = "",
    device: Annotated[str, Parameter(help="Its uid, if it is in the inventory.")] = "",
    ttl: Annotated[str, Parameter(help="How long the token can be used: 2h, 7d.")] = "7d",
    approval: Annotated[bool, Parameter(help="A person decides once the device has asked.")] = False,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Make one-time tokens by which devices enrol; each is printed once, those of a file as CSV."""
    if bool(name) == bool(file):
        raise InvalidInput("name one device, or give --csv.")
    body: dict[str, object] = {"ttl_s": parse_duration(ttl), "needs_approval": approval}
    if file is not None:
        try:
            body["csv"] = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"cannot read {file}: {error}.") from error
    else:
        body["claims"] = [{"name": name, "serial": serial, "kind": kind, "device": device}]
    made = connect().call("POST", "/claims", body=body, dry_run=dry_run)
    if output != "table":
        show_one(output, made)
    elif dry_run:
        show_result(output, made)
    elif file is None:
        sys.stdout.write(f"{made['tokens'][0]}\n")
    else:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(("name", "token"))
        rows.writerows((row["name"], token) for row, token in zip(made["claims"], made["tokens"], strict=True))


@claim.command(name="list")
def list_claims(*, state: Literal["", "open", "bound", "withdrawn"] = "", output: Output = "table") -> None:
    """List claims, without their tokens."""
    columns = {"uid": "uid", "name": "name", "state": "state", "until (UTC)": "time:expires", "device": "device"}
    show(output, list(connect().pages("/claims", params={"state": state})), columns)


@claim.command(name="withdraw")
def withdraw_claim(uid: str, *, dry_run: DryRun = False, output: Output = "table") -> None:
    """Make a token useless; certificates that came of it stay."""
    show_result(output, connect().call("DELETE", f"/claims/{uid}", dry_run=dry_run))


@enrolment.command(name="list")
def list_enrolments(*, state: Literal["", "pending", "approved", "refused"] = "", output: Output = "table") -> None:
    """List who asked for a certificate, and what was decided."""
    columns = {
        "uid": "uid",
        "name": "name",
        "state": "state",
        "reason": "reason",
        "key": "key_type",
        "asked (UTC)": "time:time",
    }
    show(output, list(connect().pages("/enrolments", params={"state": state})), columns)


@enrolment.command(name="approve")
def approve_enrolment(uid: str, *, reason: Why = "", dry_run: DryRun = False, output: Output = "table") -> None:
    """Say yes: the device gets its certificate when it asks again."""
    result = connect().call("POST", f"/enrolments/{uid}/approve", body={"reason": reason}, dry_run=dry_run)
    show_result(output, result)


@enrolment.command(name="refuse")
def refuse_enrolment(uid: str, *, reason: Why = "", dry_run: DryRun = False, output: Output = "table") -> None:
    """Say no, for good: the device needs a new claim."""
    result = connect().call("POST", f"/enrolments/{uid}/refuse", body={"reason": reason}, dry_run=dry_run)
    show_result(output, result)


@certificate.command(name="list")
def list_certificates(*, state: Literal["", "valid", "revoked"] = "", output: Output = "table") -> None:
    """List certificates that were issued."""
    columns = {"serial": "uid", "name": "name", "state": "state", "until (UTC)": "time:not_after", "device": "device"}
    show(output, list(connect().pages("/certificates", params={"state": state})), columns)


@certificate.command(name="show")
def show_certificate(serial: str, *, output: Output = "json") -> None:
    """Show one certificate; `-o table` prints its PEM alone."""
    found = connect().call("GET", f"/certificates/{serial}")
    if output == "table":
        sys.stdout.write(found["pem"])
    else:
        show_one(output, found)


@certificate.command(name="revoke")
def revoke_certificate(
    serial: str, *, reason: RevocationReason = "unspecified", dry_run: DryRun = False, output: Output = "table"
) -> None:
    """Revoke for good every certificate of the device (superseded: this one); it needs a new key and a new claim."""
    result = connect().call("POST", f"/certificates/{serial}/revoke", body={"reason": reason}, dry_run=dry_run)
    show_result(output, result)
