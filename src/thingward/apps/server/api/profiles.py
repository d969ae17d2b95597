"""Profiles: what a device needs, what approving it would change and refuse, and the same in others' forms."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from thingward.apps.server.deps import Ask, Deps
from thingward.apps.server.profiles import (
    ProfileDiff,
    approval_in_force,
    compare,
    newest_preview,
    newest_profile,
    state_of_profile,
    state_of_site,
)
from thingward.apps.server.standing import site_standing
from thingward.model.device import Device
from thingward.model.errors import NotFound
from thingward.model.intent import NoteExport
from thingward.model.profile import MudProfile, Preview
from thingward.policy import export
from thingward.policy.export import Form, RuleForm

#: Form to media type and file name suffix.
_FORMS: Final[dict[Form, tuple[str, str]]] = {
    "mud": ("application/mud+json", "mud.json"),
    "nftables": ("text/plain", "nft"),
    "openwrt": ("text/plain", "openwrt.nft"),
    "dnsmasq": ("text/plain", "dnsmasq.conf"),
    "csv": ("text/csv", "csv"),
}


def _profile(deps: Deps, uid: str) -> MudProfile:
    deps.get(Device, uid)
    found = newest_profile(deps, uid)
    if found is None:
        raise NotFound(f"device {uid!r} has no profile yet.", hint="It is learnt from traffic; wait.")
    return found


@get(
    "/devices/{uid:str}/profile",
    operation_id="getProfile",
    access="devices:read",
    tags=["profiles"],
    sync_to_thread=True,
)
def get_profile(deps: NamedDependency[Deps], uid: FromPath[str]) -> MudProfile:
    """Give the newest profile: what the device needs, and how settled that is."""
    return _profile(deps, uid)


@get(
    "/devices/{uid:str}/profile/diff",
    operation_id="getProfileDiff",
    access="devices:read",
    tags=["profiles"],
    sync_to_thread=True,
)
def get_diff(deps: NamedDependency[Deps], uid: FromPath[str]) -> ProfileDiff:
    """Tell what approving the newest profile would change against what is in force."""
    return compare(_profile(deps, uid), approval_in_force(deps, uid))


@get(
    "/devices/{uid:str}/preview",
    operation_id="getPreview",
    access="devices:read",
    tags=["profiles"],
    sync_to_thread=True,
)
def get_preview(deps: NamedDependency[Deps], uid: FromPath[str]) -> Preview:
    """Give the newest preview: recorded traffic, replayed against a profile that did not learn from it."""
    deps.get(Device, uid)
    found = newest_preview(deps, uid)
    if found is None:
        raise NotFound(f"device {uid!r} has no preview yet.", hint="It is made when its profile has enough traffic.")
    return found


@get("/devices/{uid:str}/profile/export", operation_id="exportProfile", access=NoteExport, tags=["profiles"])
async def export_profile(
    deps: NamedDependency[Deps],
    ask: NamedDependency[Ask],
    uid: FromPath[str],
    form: Annotated[Form, QueryParameter(description="Which form.")] = "mud",
) -> Response[Any]:
    """Export the newest profile of one device as a MUD file (RFC 8520), nftables, OpenWrt or CSV. This is audited.

    Files of rules hold this device alone, in a table of its own; `exportSite` gives all devices in one file.
    """
    device, profile = deps.get(Device, uid), _profile(deps, uid)
    text = export.export_profile(profile, device, lambda: state_of_profile(deps, device, profile), form)
    await ask(NoteExport(what="profile", target=uid, form=form))
    return _file(text, form, uid)


@get("/sites/{name:str}/export", operation_id="exportSite", access=NoteExport, tags=["profiles"])
async def export_site(
    deps: NamedDependency[Deps],
    ask: NamedDependency[Ask],
    name: FromPath[str],
    form: Annotated[RuleForm, QueryParameter(description="Which form.")] = "nftables",
    device: Annotated[
        list[str] | None,
        QueryParameter(description="Uid of a device: only this one and others named so; default all.", max_items=1000),
    ] = None,
) -> Response[Any]:
    """Export the approved profiles of a site's devices in one file for nftables, OpenWrt or dnsmasq. This is audited."""
    if all(row.name != name for row in site_standing(deps)):
        raise NotFound(f"there is no site {name!r}.")
    text = export.export_site(state_of_site(deps, name, tuple(device or ())), deps.tenant, form)
    await ask(NoteExport(what="site", target=name, form=form))
    return _file(text, form, "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name))


def _file(text: str, form: Form, name: str) -> Response[Any]:
    media_type, suffix = _FORMS[form]
    headers = {"Content-Disposition": f'attachment; filename="thingward-{name}.{suffix}"'}
    return Response(content=text, media_type=media_type, headers=headers)


HANDLERS = (get_profile, get_diff, get_preview, export_profile, export_site)
