"""The parts of the enforcer that no port shows: its file, the resolver's lines, the way to nftables, this machine."""

import asyncio
import stat
from pathlib import Path

import pytest

from thingward.adapters.clock.memory import MemoryClock
from thingward.adapters.enforcer import machine
from thingward.adapters.enforcer.bounded import BoundedEnforcer
from thingward.adapters.enforcer.keeper import FileKeeper
from thingward.adapters.enforcer.memory import MemoryRules
from thingward.adapters.enforcer.nft_run import NftProgram
from thingward.adapters.enforcer.nftables import NftRules
from thingward.adapters.enforcer.resolver import DnsmasqSnippet
from thingward.adapters.enforcer.warden import decode_outcome, decode_request, decode_status
from thingward.model.action import Action, ActionKind, EnforcementState
from thingward.model.errors import InvalidInput, Unavailable, UnsupportedHere
from thingward.wire.nft import NameBinding

NAMES = (NameBinding(name="a.example", set4="n4_" + "0" * 16, set6="n6_" + "0" * 16, families=("inet",)),)


def test_the_file_is_owner_only_and_whole(tmp_path: Path) -> None:
    keeper = FileKeeper(tmp_path / "warden" / "state")
    assert keeper.load() == b""
    keeper.save(b"one")
    keeper.save(b"two")
    assert keeper.load() == b"two"
    assert stat.S_IMODE((tmp_path / "warden" / "state").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "warden").iterdir()] == ["state"]


def test_a_file_that_cannot_be_read_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"\xc1 broken")
    enforcer = BoundedEnforcer(MemoryRules(MemoryClock()), MemoryClock(), keeper=FileKeeper(tmp_path / "state"))
    assert "cannot be read" in asyncio.run(enforcer.start())


def test_a_full_disk_is_said_and_the_block_is_in_force(tmp_path: Path) -> None:
    class Full:
        def load(self) -> bytes:
            return b""

        def save(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    async def scenario() -> None:
        enforcer = BoundedEnforcer(MemoryRules(MemoryClock()), MemoryClock(), keeper=Full())
        await enforcer.start()
        action = Action(uid="a", tenant="t", time=1, source="x", kind=ActionKind.QUARANTINE, device="d",
            macs=("02:00:00:00:00:05",), ttl_s=60)  # fmt: skip
        outcome = await enforcer.quarantine("t", action)
        assert outcome.status == "applied"
        assert "restart of this machine would forget it" in outcome.detail
        assert (await enforcer.status("t")).quarantined

    asyncio.run(scenario())


def test_an_engine_that_cannot_act_refuses_everything_and_says_why() -> None:
    async def scenario() -> None:
        enforcer = BoundedEnforcer(MemoryRules(MemoryClock(), why="no rights"), MemoryClock())
        assert await enforcer.start() == "no rights"
        assert (await enforcer.status("t")).detail == "no rights"
        assert (await enforcer.hold("t", EnforcementState(version=1))).status == "refused"

    asyncio.run(scenario())


def test_the_snippet_is_written_once_and_its_command_runs(tmp_path: Path) -> None:
    mark = tmp_path / "restarted"
    snippet = DnsmasqSnippet(tmp_path / "conf", ("sh", "-c", f"echo x >> {mark}"))
    assert asyncio.run(snippet(())) == ""
    assert not (tmp_path / "conf").exists()
    assert asyncio.run(snippet(NAMES)) == ""
    assert asyncio.run(snippet(NAMES)) == ""
    assert mark.read_text() == "x\n"
    assert "nftset=/a.example/4#inet#thingward#n4_" in (tmp_path / "conf").read_text()
    assert asyncio.run(snippet(())) == ""
    assert "nftset" not in (tmp_path / "conf").read_text()


@pytest.mark.parametrize(
    ("restart", "words"),
    [(("false",), "failed with 1"), (("/no/such/program",), "does not start")],
)
def test_a_resolver_that_cannot_be_told_is_said(tmp_path: Path, restart: tuple[str, ...], words: str) -> None:
    assert words in asyncio.run(DnsmasqSnippet(tmp_path / "conf", restart)(NAMES))


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in asyncio.run(DnsmasqSnippet(tmp_path / "file" / "conf")(NAMES))


def test_what_nft_says_becomes_an_error_with_a_hint(tmp_path: Path) -> None:
    def program(words: str) -> NftProgram:
        path = tmp_path / "nft"
        path.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{words}' >&2\nexit 1\n")
        path.chmod(0o755)
        return NftProgram(str(path))

    with pytest.raises(UnsupportedHere, match="CAP_NET_ADMIN"):
        program("Operation not permitted (you must be root)").run("add table inet x")
    with pytest.raises(UnsupportedHere, match="this kernel"):
        program("Error: Could not process rule: Protocol error").run("x")
    with pytest.raises(Unavailable, match="syntax"):
        program("Error: syntax error, unexpected newline").run("x")
    with pytest.raises(Unavailable, match="did not run"):
        NftProgram("/no/such/nft").run("x")


def test_rules_that_are_switched_off_never_start_a_program() -> None:
    rules = NftRules("off", runner=NftProgram("/no/such/nft"))
    assert "switched off" in rules.unusable()


def test_without_nftables_it_says_so() -> None:
    assert "did not run" in NftRules("router", runner=NftProgram("/no/such/nft")).unusable()


def test_this_machine_names_its_own_addresses() -> None:
    own = machine.own_addresses()
    assert not any(text.startswith("127.") for text in own)
    assert machine.has_bridge() in (True, False)


def test_the_warden_takes_nothing_but_requests() -> None:
    for data in (b"", b"\xc1", b"\x81\xa4type\xa5other", b"\x93\x01\x02\x03"):
        with pytest.raises(InvalidInput):
            decode_request(data)
        for decode in (decode_outcome, decode_status):
            with pytest.raises(Unavailable):
                decode(data)
