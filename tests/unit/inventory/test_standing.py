"""A device that claims another's address gains nothing by it, and the holder loses nothing."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.inventory.builders import (
    CAMERA,
    CAMERA_IP,
    DAY,
    ROUTER,
    ROUTER_IP,
    START,
    arp,
    bulb,
    camera,
    cloud,
    end,
    flow,
    home,
    lease,
    router,
    says,
)
from thingward.inventory.stage import InventoryStage
from thingward.model.action import Action, ActionKind, EnforcementState
from thingward.model.device import Correction, Device
from thingward.model.event import Event
from thingward.model.ids import Tenant, Uid
from thingward.policy.desired import desired_state
from thingward.response.bounds import Situation, refuse, targets_of

LIAR, LIAR_IP = "9c:8e:cd:aa:bb:02", "192.168.1.66"
LINK = "fe80::9e8e:cdff:feaa:bb02"


def fed(*events: Event, stage: InventoryStage | None = None) -> InventoryStage:
    stage = stage or InventoryStage()
    stage.feed(events, START)
    return stage


def by_mac(stage: InventoryStage, mac: str) -> Device:
    (found,) = [device for device in stage.devices() if mac in device.macs]
    return found


def refusal(stage: InventoryStage, mac: str) -> str:
    """Say what speaks against shutting a device out: nothing, `force` where a person may, or `never`."""
    devices = {device.uid: device for device in stage.devices()}
    device = by_mac(stage, mac)
    found = refuse(Situation(devices=devices), device, targets_of(device, devices.values()), START + DAY)
    return "" if found is None else "force" if found.can_force else "never"


def liar(time: float, ip: str = ROUTER_IP) -> list[Event]:
    own = flow(end(LIAR, LIAR_IP, 40_000), bulb(80), time=time)
    return [arp(LIAR, LIAR_IP, time), own, *(arp(LIAR, ip, time + n) for n in range(15))]


def advertises(mac: str, ip: str, time: float) -> Event:
    return says(end(mac, ip), ("ndp.router", "yes"), protocol="ndp", time=time)


@pytest.mark.parametrize("delay_s", [1.0, 30.0, 7200.0])
def test_forged_arp_replies_for_the_gateway_protect_nobody(delay_s: float) -> None:
    stage = fed(*home(), *liar(START + delay_s), flow(end(LIAR, ROUTER_IP, 5000), camera(80), time=START + delay_s))
    assert by_mac(stage, ROUTER).role == "gateway"
    assert refusal(stage, ROUTER) == "never"
    device = by_mac(stage, LIAR)
    assert (device.role, device.kind, device.contested) == ("", "", (ROUTER_IP,))
    assert refusal(stage, LIAR) == ""
    assert "held before" in device.conflicts[0]


def test_the_claimed_address_is_no_target_and_binds_nothing() -> None:
    stage = fed(*home(), *liar(START + 5))
    device = by_mac(stage, LIAR)
    assert targets_of(device, stage.devices()).addresses == (LIAR_IP,)
    state = desired_state([], stage.devices(), stage.roles())
    from thingward.adapters.enforcer.limits import Guardrail

    action = Action(
        uid=Uid("x"), tenant=Tenant("default"), time=START, source="t", kind=ActionKind.QUARANTINE, device=device.uid,
        macs=device.macs, addresses=(LIAR_IP,), ttl_s=60.0,
    )  # fmt: skip
    known = EnforcementState(version=1, roles=state.roles, devices={device.uid: (*device.macs, LIAR_IP)})
    assert Guardrail(state.limits).protected_of(action, known) == ""


def test_the_order_in_which_the_role_became_known_does_not_matter() -> None:
    stage = fed(arp(ROUTER, ROUTER_IP), arp(CAMERA, CAMERA_IP), *liar(START + 5), lease(time=START + 20))
    assert (by_mac(stage, ROUTER).role, by_mac(stage, LIAR).role) == ("gateway", "")


def test_a_liar_that_was_there_first_is_not_believed_and_a_person_may_force() -> None:
    stage = fed(*liar(START), *home(START + 60))
    assert by_mac(stage, LIAR).role == by_mac(stage, ROUTER).role == "disputed"
    assert refusal(stage, LIAR) == refusal(stage, ROUTER) == "force"


def test_a_persons_word_settles_a_dispute() -> None:
    stage = fed(*liar(START), *home(START + 60))
    said = Correction(
        uid=Uid("k"), tenant=Tenant("default"), time=START, source="t", device=by_mac(stage, ROUTER).uid, kind="router"
    )
    stage.feed([said], START)
    assert (by_mac(stage, ROUTER).role, by_mac(stage, LIAR).role) == ("gateway", "")
    assert refusal(stage, LIAR) == ""


def test_a_holder_keeps_its_address_through_a_restart() -> None:
    stage = fed(*home(), flow(camera(), cloud()))
    again = InventoryStage()
    again.restore(stage.snapshot())
    fed(*liar(START + 5), stage=again)
    assert (by_mac(again, ROUTER).role, by_mac(again, LIAR).role) == ("gateway", "")


def test_a_replaced_router_takes_over_when_the_old_one_is_gone() -> None:
    new = "b0:00:00:00:00:ff"
    stage = fed(*home(), arp(CAMERA, CAMERA_IP, START + DAY), arp(new, ROUTER_IP, START + 2 * DAY))
    assert by_mac(stage, new).role == "gateway"


def test_router_advertisements_of_a_stranger_protect_nobody() -> None:
    stage = fed(*home(), advertises(LIAR, LINK, START + 5), arp(LIAR, LIAR_IP, START + 5))
    assert (by_mac(stage, ROUTER).role, by_mac(stage, LIAR).role) == ("gateway", "")
    assert LINK not in stage.roles()["gateway"]
    early = fed(advertises(LIAR, LINK, START), *home(START + 1), flow(camera(), cloud(), time=START + 2))
    assert (by_mac(early, ROUTER).role, by_mac(early, LIAR).role) == ("gateway", "")


def test_the_gateways_own_neighbour_address_claimed_by_another() -> None:
    own = "fe80::b200:ff:fe00:fe"
    stage = fed(
        *home(), advertises(ROUTER, own, START + 1),
        says(end(LIAR, own), ("ndp.ip", own), protocol="ndp", time=START + 900),
    )  # fmt: skip
    assert (by_mac(stage, ROUTER).role, by_mac(stage, LIAR).role) == ("gateway", "")


def test_only_a_router_on_the_link_is_the_gateway_where_nothing_else_is_known() -> None:
    stage = fed(advertises(ROUTER, "fe80::1", START))
    assert by_mac(stage, ROUTER).role == "gateway"


def test_forged_sources_make_no_gateway() -> None:
    forged = [flow(end(LIAR, f"45.33.{n}.7", 1000 + n), cloud(80), answered=False, proto=17) for n in range(9)]
    forged.append(flow(end(LIAR, "45.33.1.9", 1000), camera(23), answered=False))
    assert by_mac(fed(*forged), LIAR).role == ""
    assert by_mac(fed(*home(), *forged), LIAR).role == ""


def test_whoever_others_route_by_is_the_gateway_where_no_lease_was_seen() -> None:
    stage = fed(arp(ROUTER, ROUTER_IP), flow(camera(), cloud()), router_talks())
    assert by_mac(stage, ROUTER).role == "gateway"
    fed(*liar(START + 60), flow(camera(), end(LIAR, "45.33.1.9", 443), time=START + 70), stage=stage)
    assert (by_mac(stage, ROUTER).role, by_mac(stage, LIAR).role) == ("gateway", "")


def router_talks() -> Event:
    return flow(router(50_000), camera(80))


def rogue(time: float) -> Event:
    found = lease("b0:00:00:00:00:33", "192.168.1.33", time, message="offer")
    data = msgspec.structs.replace(found.data, resolvers=(LIAR_IP,), routers=(LIAR_IP,))  # type: ignore[type-var]
    return msgspec.structs.replace(found, data=data, dst=end(LIAR, LIAR_IP, 67))


def test_a_rogue_dhcp_server_that_names_itself_protects_nobody() -> None:
    late = fed(*home(), flow(camera(), cloud(), time=START + 1), rogue(START + 30), arp(LIAR, LIAR_IP, START + 31))
    assert (by_mac(late, ROUTER).role, by_mac(late, LIAR).role) == ("gateway", "")
    assert refusal(late, LIAR) == ""
    first = fed(rogue(START), arp(LIAR, LIAR_IP), *home(START + 60), flow(camera(), cloud(), time=START + 61))
    assert by_mac(first, LIAR).role != "gateway"
    assert refusal(first, LIAR) == "force"


def test_a_forged_answer_in_the_dhcp_servers_name_says_nothing() -> None:
    forged = lease("b0:00:00:00:00:33", "192.168.1.33", START + 30)
    data = msgspec.structs.replace(forged.data, routers=(LIAR_IP,))  # type: ignore[type-var]
    stage = fed(*home(), arp(LIAR, LIAR_IP, START + 20))
    fed(msgspec.structs.replace(forged, data=data, dst=end(LIAR, ROUTER_IP, 67)), stage=stage)
    assert stage.roles()["gateway"] == (ROUTER_IP,)
    assert by_mac(stage, LIAR).role == ""


def test_another_devices_address_is_contested_until_a_lease_or_silence_passes_it_on() -> None:
    stage = fed(*home(), arp(LIAR, CAMERA_IP, START + 5))
    assert by_mac(stage, LIAR).contested == (CAMERA_IP,)
    assert by_mac(stage, CAMERA).contested == ()
    leased = fed(*home(), lease(LIAR, CAMERA_IP, START + 5))
    assert by_mac(leased, LIAR).contested == ()
    quiet = fed(*home(), arp(LIAR, CAMERA_IP, START + 3600))
    assert by_mac(quiet, LIAR).contested == ()
