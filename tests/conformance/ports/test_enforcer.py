"""What every enforcer promises: the twin in memory, and nftables behind the warden in a namespace of its own."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from thingward.adapters.clock.memory import MemoryClock
from thingward.adapters.enforcer.bounded import BoundedEnforcer
from thingward.adapters.enforcer.keeper import FileKeeper
from thingward.adapters.enforcer.memory import MemoryRules
from thingward.adapters.enforcer.warden import WardenEnforcer
from thingward.adapters.link.unix import UnixLinkClient
from thingward.model.action import Action, ActionKind, EnforcementEntry, EnforcementState, Limits
from thingward.model.ids import Tenant, Uid
from thingward.model.profile import Acl, PeerKind
from thingward.runtime.config import Settings
from thingward.runtime.enforcement import warden_socket

TENANT = "home"
BAD, GOOD, ROUTER = "02:00:00:00:00:66", "02:00:00:00:00:05", "02:00:00:00:00:01"


class Site:
    """An enforcer by one adapter, the time of its quarantines, and its end and beginning."""

    enforcer: Any

    async def begin(self) -> None: ...

    async def die(self) -> None: ...

    async def pass_time(self, seconds: float) -> None: ...


class MemorySite(Site):
    def __init__(self, folder: Path) -> None:
        self.clock = MemoryClock()
        self.rules = MemoryRules(self.clock)
        self.folder = folder

    async def begin(self) -> None:
        self.enforcer = BoundedEnforcer(self.rules, self.clock, keeper=FileKeeper(self.folder / "state"))
        assert await self.enforcer.start() == ""

    async def die(self) -> None:
        del self.enforcer  # the rules stay, as in a kernel

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)


class WardenSite(Site):
    """A shell holds the namespace open, so that the warden can die and come back into it."""

    def __init__(self, folder: Path, in_namespace: tuple[str, ...]) -> None:
        self.settings = Settings(data_dir=str(folder))
        self.link: UnixLinkClient | None = None
        self.warden: subprocess.Popen[bytes] | None = None
        self.keeper = subprocess.Popen(
            [*in_namespace, "sh", "-c", "echo ready; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.keeper.stdout is not None
        assert self.keeper.stdout.readline() == b"ready\n"
        user = ("--user", "--preserve-credentials") if "--user" in in_namespace else ()
        self.enter = ("nsenter", *user, "--net", "--target", str(self.keeper.pid), "--")

    async def begin(self) -> None:
        self.warden = subprocess.Popen(  # noqa: ASYNC220 - it starts at once
            [*self.enter, sys.executable, "-m", "thingward.apps.warden", "--data-dir", self.settings.data_dir],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self.link = UnixLinkClient(warden_socket(self.settings), name="test", retry_s=(0.02, 0.1))
        self.enforcer = WardenEnforcer(self.link)
        await self.enforcer.status(TENANT)

    async def die(self) -> None:
        if self.warden is not None:
            self.warden.kill()
            self.warden.wait()
            self.warden = None
        if self.link is not None:
            await self.link.close()
            self.link = None

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def listing(self) -> str:
        return subprocess.run(
            [*self.enter, "nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True
        ).stdout

    def close(self) -> None:
        assert self.keeper.stdin is not None
        self.keeper.stdin.close()
        self.keeper.wait()


@pytest.fixture(params=["memory", pytest.param("warden", marks=pytest.mark.netns)])
def run(request: pytest.FixtureRequest, tmp_path: Path, in_namespace: tuple[str, ...]) -> Callable[[Any], None]:
    def go(scenario: Callable[[Site], Awaitable[None]]) -> None:
        site: Any = MemorySite(tmp_path) if request.param == "memory" else WardenSite(tmp_path, in_namespace)

        async def inside() -> None:
            try:
                await site.begin()
                await asyncio.wait_for(scenario(site), 60)
            finally:
                await site.die()

        try:
            asyncio.run(inside())
        finally:
            if isinstance(site, WardenSite):
                site.close()

    return go


def action(uid: str = "a-1", *, device: str = "d-bad", mac: str = BAD, ttl_s: float = 60.0, **fields: Any) -> Action:
    return Action(
        uid=Uid(uid), tenant=Tenant(TENANT), time=1.0, source="test", kind=ActionKind.QUARANTINE,
        device=device, macs=(mac,), ttl_s=ttl_s, **fields,
    )  # fmt: skip


def state(version: int = 1, **fields: Any) -> EnforcementState:
    acls = (
        Acl(direction="out", peer=PeerKind.NAME, value="api.cloud.example", proto=6, port=443),
        Acl(direction="out", peer=PeerKind.ROLE, value="dns", proto=17, port=53),
    )
    known: dict[str, Any] = {
        "entries": (EnforcementEntry(device="d-good", macs=(GOOD,), addresses=("192.168.7.5",), acls=acls),),
        "roles": {"dns": ("192.168.7.1",), "gateway": ("192.168.7.1",)},
        "devices": {"d-router": (ROUTER, "192.168.7.1")},
        "networks": ("192.168.7.0/24",),
        "fleet_size": 40,
        "limits": Limits(fleet_share_per_hour=0.1, min_devices_per_hour=1, max_ttl_s=3600.0),
    }
    return EnforcementState(version=version, **{**known, **fields})


def test_a_quarantine_is_in_force_until_it_is_released_and_then_nothing_is_left(run: Any) -> None:
    async def scenario(site: Site) -> None:
        before = await site.enforcer.status(TENANT)
        done = await site.enforcer.quarantine(TENANT, action())
        held = await site.enforcer.status(TENANT)
        assert (done.status, done.state_before, done.state_after) == ("applied", before.digest, held.digest)
        assert 50 < held.quarantined[BAD] <= 60
        undone = await site.enforcer.release(TENANT, action())
        assert (undone.status, undone.state_before, undone.state_after) == ("undone", held.digest, before.digest)
        assert (await site.enforcer.status(TENANT)).quarantined == {}

    run(scenario)


def test_a_quarantine_ends_by_itself_also_when_its_author_is_dead(run: Any) -> None:
    async def scenario(site: Site) -> None:
        await site.enforcer.quarantine(TENANT, action(ttl_s=2))
        await site.die()
        await site.pass_time(2.5)
        await site.begin()
        assert (await site.enforcer.status(TENANT)).quarantined == {}

    run(scenario)


def test_the_same_action_again_changes_nothing_and_a_new_one_sets_a_new_end(run: Any) -> None:
    async def scenario(site: Site) -> None:
        first = await site.enforcer.quarantine(TENANT, action(ttl_s=30))
        again = await site.enforcer.quarantine(TENANT, action(ttl_s=900))
        assert (again.uid, again.status) == (first.uid, "applied")
        assert (await site.enforcer.status(TENANT)).quarantined[BAD] <= 30
        await site.enforcer.quarantine(TENANT, action("a-2", ttl_s=900))
        assert (await site.enforcer.status(TENANT)).quarantined[BAD] > 800

    run(scenario)


def test_a_device_that_moves_is_followed_and_who_gets_its_address_is_let_in(run: Any) -> None:
    async def scenario(site: Site) -> None:
        await site.enforcer.quarantine(TENANT, action(addresses=("192.168.7.66",)))
        await site.enforcer.quarantine(TENANT, action(addresses=("192.168.7.67",)))
        assert set((await site.enforcer.status(TENANT)).quarantined) == {BAD, "192.168.7.67"}
        await site.enforcer.release(TENANT, action())
        assert (await site.enforcer.status(TENANT)).quarantined == {}

    run(scenario)


def test_releasing_one_device_leaves_the_other_out(run: Any) -> None:
    async def scenario(site: Site) -> None:
        await site.enforcer.hold(TENANT, state())
        await site.enforcer.quarantine(TENANT, action())
        await site.enforcer.quarantine(TENANT, action("a-2", device="d-2", mac="02:00:00:00:00:67"))
        await site.enforcer.release(TENANT, action())
        assert set((await site.enforcer.status(TENANT)).quarantined) == {"02:00:00:00:00:67"}

    run(scenario)


def test_releasing_what_was_never_shut_out_is_refused_and_what_has_ended_is_not(run: Any) -> None:
    async def scenario(site: Site) -> None:
        nobody = msgspec.structs.replace(action("a-9", device="d-9"), macs=())
        assert (await site.enforcer.release(TENANT, nobody)).status == "refused"
        assert (await site.enforcer.release(TENANT, action())).status == "undone"

    run(scenario)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (action(mac=ROUTER), "gateway|never-block|machine"),
        (action(addresses=("192.168.7.1",)), "gateway"),
        (action(device="d-router", mac="02:00:00:00:00:77"), "gateway"),
        (action(addresses=("10.99.3.4",)), "never-block"),
        (action(mac="02:00:00:00:00:aa"), "never-block"),
        (action(ttl_s=0), "more than 0"),
        (action(ttl_s=7200), "at most 3600"),
        (action(mac="ff:ff:ff:ff:ff:ff"), "single device"),
        (action(mac="02:00:00:00:00:66; flush ruleset"), "single device"),
        (msgspec.structs.replace(action(), macs=()), "nothing to quarantine"),
        (msgspec.structs.replace(action(), tenant=Tenant("other")), "another tenant"),
        (msgspec.structs.replace(action(), kind=ActionKind.NOTIFY), "no quarantine"),
        (msgspec.structs.replace(action(addresses=("10.99.3.4",)), force=True), "never-block"),
    ],
)
def test_what_must_never_be_blocked_is_refused_whoever_asks(run: Any, wanted: Action, reason: str) -> None:
    async def scenario(site: Site) -> None:
        limits = Limits(max_ttl_s=3600.0, never_block=("10.99.0.0/16", "02:00:00:00:00:AA"))
        await site.enforcer.hold(TENANT, state(limits=limits, devices={"d-router": (ROUTER, "192.168.7.1")}, roles={
            "gateway": ("192.168.7.1", ROUTER)}))  # fmt: skip
        before = await site.enforcer.status(TENANT)
        refused = await site.enforcer.quarantine(TENANT, wanted)
        assert refused.status == "refused"
        assert any(part in refused.detail for part in reason.split("|")), refused.detail
        assert (await site.enforcer.status(TENANT)).digest == before.digest

    run(scenario)


def test_only_a_share_of_the_fleet_may_be_shut_out_per_hour_unless_a_person_forces_it(run: Any) -> None:
    async def scenario(site: Site) -> None:
        await site.enforcer.hold(TENANT, state(fleet_size=20))
        asked = [action(f"a-{n}", device=f"d-{n}", mac=f"02:00:00:00:01:{n:02x}") for n in range(4)]
        outcomes = [await site.enforcer.quarantine(TENANT, each) for each in asked]
        assert [outcome.status for outcome in outcomes] == ["applied", "applied", "refused", "refused"]
        assert "2 of 20 devices" in outcomes[2].detail
        await site.die()
        await site.begin()  # the count survives a restart
        assert (await site.enforcer.quarantine(TENANT, asked[2])).status == "refused"
        forced = msgspec.structs.replace(asked[2], force=True)
        assert (await site.enforcer.quarantine(TENANT, forced)).status == "applied"

    run(scenario)


def test_without_any_state_one_device_per_hour_may_be_shut_out(run: Any) -> None:
    async def scenario(site: Site) -> None:
        assert (await site.enforcer.quarantine(TENANT, action())).status == "applied"
        other = action("a-2", device="d-2", mac="02:00:00:00:00:67")
        assert (await site.enforcer.quarantine(TENANT, other)).status == "refused"

    run(scenario)


def test_a_dry_run_changes_nothing(run: Any) -> None:
    async def scenario(site: Site) -> None:
        before = await site.enforcer.status(TENANT)
        told = await site.enforcer.quarantine(TENANT, action(dry_run=True))
        assert "dry run" in told.detail
        assert (await site.enforcer.status(TENANT)).digest == before.digest

    run(scenario)


def test_a_state_replaces_the_one_before_and_taking_it_back_restores_the_rules(run: Any) -> None:
    async def scenario(site: Site) -> None:
        empty = await site.enforcer.status(TENANT)
        held = await site.enforcer.hold(TENANT, state(1))
        assert held.status == "applied"
        seen = await site.enforcer.status(TENANT)
        assert (seen.version, seen.devices, seen.digest) == (1, ("d-good",), held.state_after)
        assert seen.digest != empty.digest
        again = await site.enforcer.hold(TENANT, state(1))
        assert "already" in again.detail
        await site.enforcer.hold(TENANT, state(2, entries=()))
        after = await site.enforcer.status(TENANT)
        assert (after.version, after.devices) == (2, ())
        await site.enforcer.hold(TENANT, state(3))
        assert (await site.enforcer.status(TENANT)).digest == seen.digest

    run(scenario)


def test_a_new_state_leaves_quarantines_alone(run: Any) -> None:
    async def scenario(site: Site) -> None:
        await site.enforcer.quarantine(TENANT, action())
        await site.enforcer.hold(TENANT, state())
        assert set((await site.enforcer.status(TENANT)).quarantined) == {BAD}

    run(scenario)


def test_what_cannot_be_enforced_is_told(run: Any) -> None:
    async def scenario(site: Site) -> None:
        lost = Acl(direction="out", peer=PeerKind.DEVICE, value="d-lost", proto=6, port=80)
        entry = EnforcementEntry(device="d-good", macs=(GOOD,), acls=(lost,))
        never = EnforcementEntry(device="d-nvr", macs=("02:00:00:00:00:0b",), addresses=("192.168.7.11",))
        limits = Limits(never_block=("192.168.7.11",))
        outcome = await site.enforcer.hold(TENANT, state(entries=(entry, never), limits=limits))
        assert "d-lost" in outcome.detail
        assert "d-nvr: not enforced" in outcome.detail
        assert any("d-lost" in line for line in (await site.enforcer.status(TENANT)).skipped)

    run(scenario)


def test_rules_and_blocks_survive_the_death_of_the_enforcer(run: Any) -> None:
    async def scenario(site: Site) -> None:
        await site.enforcer.hold(TENANT, state(7))
        await site.enforcer.quarantine(TENANT, action())
        before = await site.enforcer.status(TENANT)
        await site.die()
        await site.begin()
        after = await site.enforcer.status(TENANT)
        assert (after.version, after.digest, set(after.quarantined)) == (7, before.digest, {BAD})

    run(scenario)


def test_remove_all_leaves_nothing_and_stays_off_until_somebody_resumes(run: Any) -> None:
    async def scenario(site: Site) -> None:
        await site.enforcer.hold(TENANT, state(1))
        await site.enforcer.quarantine(TENANT, action())
        assert (await site.enforcer.remove_all(TENANT)).status == "undone"
        if isinstance(site, WardenSite):
            assert site.listing() == ""
        assert not (await site.enforcer.status(TENANT)).available
        assert (await site.enforcer.quarantine(TENANT, action("a-2"))).status == "refused"
        assert (await site.enforcer.hold(TENANT, state(2))).status == "refused"

    run(scenario)


def test_resume_takes_up_what_core_said_last_but_no_old_quarantine(run: Any) -> None:
    async def scenario(site: Site) -> None:
        await site.enforcer.hold(TENANT, state(1))
        await site.enforcer.quarantine(TENANT, action())
        await site.enforcer.remove_all(TENANT)
        await site.enforcer.hold(TENANT, state(2))
        assert (await site.enforcer.resume(TENANT)).status == "applied"
        status = await site.enforcer.status(TENANT)
        assert (status.version, status.devices, status.quarantined) == (2, ("d-good",), {})

    run(scenario)


@pytest.mark.netns
def test_the_kernels_listing_is_the_same_to_the_letter_after_the_undo(
    tmp_path: Path, in_namespace: tuple[str, ...]
) -> None:
    site = WardenSite(tmp_path, in_namespace)

    async def scenario() -> None:
        await site.begin()
        await site.enforcer.hold(TENANT, state())
        before = site.listing()
        await site.enforcer.quarantine(TENANT, action(addresses=("192.168.7.66", "fe80::66")))
        assert site.listing() != before
        await site.enforcer.release(TENANT, action())
        assert site.listing() == before
        await site.die()

    try:
        asyncio.run(scenario())
    finally:
        asyncio.run(site.die())
        site.close()


@pytest.mark.netns
def test_what_a_restarted_firewall_flushed_is_put_back(tmp_path: Path, in_namespace: tuple[str, ...]) -> None:
    site = WardenSite(tmp_path, in_namespace)
    # The warden looks every ten seconds; here the same code is asked at once.
    script = f"""
import asyncio, json, subprocess
from thingward.runtime.enforcement import build_enforcer
from thingward.runtime.config import Settings
from tests.conformance.ports.test_enforcer import TENANT, action, state
async def main():
    enforcer = build_enforcer(Settings(data_dir={str(tmp_path)!r}))
    await enforcer.start()
    await enforcer.hold(TENANT, state())
    await enforcer.quarantine(TENANT, action())
    before = await enforcer.status(TENANT)
    quiet = await enforcer.mend()
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    line = await enforcer.mend()
    after = await enforcer.status(TENANT)
    print(json.dumps([quiet, line, before.digest == after.digest, list(after.quarantined)]))
asyncio.run(main())
"""
    try:
        done = subprocess.run([*site.enter, sys.executable, "-c", script], capture_output=True, text=True, check=True)
    finally:
        site.close()
    quiet, line, same, quarantined = json.loads(done.stdout)
    assert (quiet, same, quarantined) == ("", True, [BAD])
    assert "put back" in line
