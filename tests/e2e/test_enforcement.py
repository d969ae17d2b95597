"""Enforcement on real packets: a router, a device, a neighbour and a cloud in namespaces, with dnsmasq in between."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.netns

PRELUDE = """
import asyncio, json, socket, subprocess, sys, time
from pathlib import Path
from thingward.adapters.enforcer.bounded import BoundedEnforcer
from thingward.adapters.enforcer.warden import WardenEnforcer
from thingward.adapters.link.unix import UnixLinkClient
from thingward.apps.simulator.cloud import listen, serve_http, UdpServer
from thingward.apps.simulator.messages import dns_query, dns_question, dns_answer, dns_addresses
from thingward.model.action import Action, ActionKind, EnforcementEntry, EnforcementState, Limits
from thingward.model.profile import Acl, PeerKind
from thingward.runtime.netns import new_namespace, own_namespace, run_program
from thingward.runtime.config import Settings
from thingward.runtime.enforcement import warden_socket

DEVICE, NEIGHBOUR = "02:00:00:00:00:05", "02:00:00:00:00:06"
GOOD, OTHER = "203.0.113.10", "203.0.113.20"
folder = Path(sys.argv[1])
settings = Settings(data_dir=str(folder / "data"))

def ip(*lines):
    return "\\n".join(lines) + "\\n"

cloud, device, neighbour = new_namespace(), new_namespace(), new_namespace()
run_program(("ip", "-batch", "-"), ip(
    "link set lo up", "link add br0 address 02:00:00:00:00:01 type bridge", "addr add 192.168.7.1/24 dev br0", "link set br0 up",
    f"link add wan0 type veth peer name isp0 netns {cloud.path}", "addr add 198.51.100.2/24 dev wan0", "link set wan0 up",
    "route add 203.0.113.0/24 via 198.51.100.1",
    f"link add p1 type veth peer name eth0 address {DEVICE} netns {device.path}", "link set p1 master br0 up",
    f"link add p2 type veth peer name eth0 address {NEIGHBOUR} netns {neighbour.path}", "link set p2 master br0 up",
))
cloud.run("ip", "-batch", "-", given=ip("link set lo up", "addr add 198.51.100.1/24 dev isp0", "link set isp0 up",
    "route add 192.168.7.0/24 via 198.51.100.2", "route add local 203.0.113.0/24 dev lo"))
for namespace, address in ((device, "192.168.7.5"), (neighbour, "192.168.7.6")):
    namespace.run("ip", "-batch", "-", given=ip("link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up",
        "route add default via 192.168.7.1"))
Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

async def reaches(where, address, port, patience_s=0.7):
    sock = where.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(patience_s):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        return True
    except (OSError, TimeoutError):
        return False
    finally:
        sock.close()

async def resolves(where, name, server="192.168.7.1"):
    sock = where.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.connect((server, 53))
        sock.send(dns_query(7, name))
        async with asyncio.timeout(3):
            return dns_addresses(await asyncio.get_running_loop().sock_recv(sock, 2048))
    except (OSError, TimeoutError):
        return []
    finally:
        sock.close()

class Warden:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-m", "thingward.apps.warden", "--data-dir", settings.data_dir])
        self.link = UnixLinkClient(warden_socket(settings), name="test", retry_s=(0.02, 0.1))
        self.enforcer = WardenEnforcer(self.link)
    async def kill(self):
        self.process.kill()
        self.process.wait()
        await self.link.close()

def quarantine(ttl_s=600.0):
    return Action(uid="a-1", tenant="t", time=1, source="test", kind=ActionKind.QUARANTINE, device="d-1",
        macs=(DEVICE,), addresses=("192.168.7.5",), ttl_s=ttl_s)

def state(*acls, version=1):
    return EnforcementState(version=version, entries=(EnforcementEntry(device="d-1", macs=(DEVICE,),
        addresses=("192.168.7.5",), acls=acls),), roles={"dns": ("192.168.7.1",)}, networks=("192.168.7.0/24",),
        devices={"d-2": (NEIGHBOUR, "192.168.7.6")}, fleet_size=2)

DNS = Acl(direction="out", peer=PeerKind.ROLE, value="dns", proto=17, port=53)

def listing(*flags):
    return subprocess.run(["nft", *flags, "list", "ruleset"], capture_output=True, text=True, check=True).stdout

def say(**facts):
    print(json.dumps(facts))

async def main(scenario):
    await listen(cloud, 443, serve_http("cloud"))
    await listen(neighbour, 80, serve_http("neighbour"))
    await listen(device, 8080, serve_http("device"))
    await scenario()

"""


def play(in_namespace: tuple[str, ...], folder: Path, scenario: str) -> dict[str, Any]:
    """Run a scenario in a namespace of its own; whatever it starts ends with it."""
    script = PRELUDE + textwrap.dedent(scenario) + "\nasyncio.run(main(scenario))\n"
    command = [
        *in_namespace,
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        sys.executable,
        "-c",
        script,
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_names_open_as_they_are_resolved(tmp_path: Path, in_namespace: tuple[str, ...], need_program: Any) -> None:
    need_program("dnsmasq")
    facts = play(
        in_namespace,
        tmp_path,
        """
        async def scenario():
            names = {"good.example": GOOD, "sub.good.example": "203.0.113.11", "other.example": OTHER}
            def answer(data):
                number, name, kind = dns_question(data)
                known = names.get(name) if kind == 1 else None
                return dns_answer(number, name, kind, [known] if known else [], known=name in names)
            upstream = UdpServer(cloud, "198.51.100.1", 53, answer)
            warden = Warden()
            entries = (DNS, Acl(direction="out", peer=PeerKind.NAME, value="good.example", proto=6, port=443))
            free = await reaches(device, GOOD, 443)
            outcome = await warden.enforcer.hold("t", state(*entries))
            snippet = Path(settings.data_dir) / "dnsmasq-thingward.conf"
            subprocess.Popen(["dnsmasq", "--no-daemon", "--conf-file=" + str(snippet), "--interface=br0", "--bind-interfaces",
                "--except-interface=lo", "--no-resolv", "--no-hosts", "--server=198.51.100.1"], stderr=subprocess.DEVNULL)
            await asyncio.sleep(0.3)
            before = await reaches(device, GOOD, 443)
            answers = await resolves(device, "good.example")
            after = await reaches(device, GOOD, 443, 0.3)
            other_answers = await resolves(device, "other.example")
            other = await reaches(device, OTHER, 443)
            wrong_port = await reaches(device, GOOD, 80)
            elsewhere = await resolves(device, "good.example", "198.51.100.1")
            neighbour_free = await reaches(neighbour, OTHER, 443)
            element = "expires" in listing()
            await warden.kill()
            say(free=free, status=outcome.status, before=before, answers=answers, after=after, other_answers=other_answers,
                other=other, wrong_port=wrong_port, elsewhere=elsewhere, neighbour_free=neighbour_free, element=element)
    """,
    )
    assert facts["free"], "before approval everything passes"
    assert facts["status"] == "applied"
    assert not facts["before"], "refused before the query"
    assert facts["answers"] == ["203.0.113.10"]
    assert facts["after"], "open at the first packet after the query"
    assert facts["other_answers"] == ["203.0.113.20"]
    assert not facts["other"], "another name is still refused"
    assert not facts["wrong_port"]
    assert facts["elsewhere"] == [], "another resolver is refused"
    assert facts["neighbour_free"], "who has no approved profile is left alone"
    assert facts["element"]


def test_a_profile_holds_on_the_bridge_and_who_began_counts(tmp_path: Path, in_namespace: tuple[str, ...]) -> None:
    facts = play(
        in_namespace,
        tmp_path,
        """
        async def scenario():
            warden = Warden()
            async def both():
                return [await reaches(device, "192.168.7.6", 80), await reaches(neighbour, "192.168.7.5", 8080)]
            free = await both()
            await warden.enforcer.hold("t", state(Acl(direction="out", peer=PeerKind.DEVICE, value="d-2", proto=6, port=80)))
            out_only = await both()
            await warden.enforcer.hold("t", state(Acl(direction="in", peer=PeerKind.LOCAL, value="", proto=6, port=8080), version=2))
            in_only = await both()
            await warden.enforcer.hold("t", state(version=3))
            nothing = await both()
            refused = (await warden.enforcer.status("t")).refused
            await warden.kill()
            say(free=free, out_only=out_only, in_only=in_only, nothing=nothing, refused=refused)
    """,
    )
    assert facts["free"] == [True, True]
    assert facts["out_only"] == [True, False]
    assert facts["in_only"] == [False, True]
    assert facts["nothing"] == [False, False]
    assert facts["refused"]["d-1"] > 0


def test_an_open_connection_is_cut_at_once_and_goes_on_after_the_undo(
    tmp_path: Path, in_namespace: tuple[str, ...]
) -> None:
    facts = play(
        in_namespace,
        tmp_path,
        """
        async def scenario():
            async def echo(reader, writer):
                while data := await reader.read(100):
                    writer.write(data)
            await listen(cloud, 7, echo)
            await listen(neighbour, 7, echo)
            async def open_to(address):
                sock = device.socket(socket.AF_INET, socket.SOCK_STREAM)
                await asyncio.get_running_loop().sock_connect(sock, (address, 7))
                return await asyncio.open_connection(sock=sock)
            streams = [await open_to(GOOD), await open_to("192.168.7.6")]
            async def alive(patience_s):
                found = []
                for reader, writer in streams:
                    writer.write(b"x")
                    try:
                        async with asyncio.timeout(patience_s):
                            await reader.read(1)
                        found.append(True)
                    except TimeoutError:
                        found.append(False)
                return found
            warden = Warden()
            await warden.enforcer.status("t")
            listed = listing("-s")
            open_before = await alive(1)
            outcome = await warden.enforcer.quarantine("t", quarantine())
            open_during = await alive(0.5)
            inward = await reaches(neighbour, "192.168.7.5", 8080)
            router = await reaches(device, "192.168.7.1", 22)
            undone = await warden.enforcer.release("t", quarantine())
            same = listing("-s") == listed
            open_after = await alive(5)
            await warden.kill()
            say(open_before=open_before, open_during=open_during, inward=inward, same=same, open_after=open_after,
                digests=undone.state_after == outcome.state_before)
    """,
    )
    assert facts["open_before"] == [True, True]
    assert facts["open_during"] == [False, False]
    assert not facts["inward"]
    assert facts["same"], "the kernel's listing is the same to the letter"
    assert facts["digests"]
    assert facts["open_after"] == [True, True]


def test_a_dead_warden_leaves_rules_and_the_kernel_ends_the_block(
    tmp_path: Path, in_namespace: tuple[str, ...]
) -> None:
    facts = play(
        in_namespace,
        tmp_path,
        """
        async def scenario():
            warden = Warden()
            await warden.enforcer.hold("t", state(Acl(direction="out", peer=PeerKind.ADDRESS, value=GOOD, proto=6, port=443)))
            await warden.enforcer.quarantine("t", quarantine(ttl_s=3))
            await warden.kill()
            dead = time.monotonic()
            shut = [await reaches(device, GOOD, 443), await reaches(device, OTHER, 443)]
            await asyncio.sleep(max(0, 3.6 - (time.monotonic() - dead)))
            ended = [await reaches(device, GOOD, 443), await reaches(device, OTHER, 443)]
            again = Warden()
            held = await again.enforcer.status("t")
            kept = [await reaches(device, GOOD, 443), await reaches(device, OTHER, 443)]
            await again.enforcer.remove_all("t")
            left = listing()
            free = [await reaches(device, GOOD, 443), await reaches(device, OTHER, 443)]
            await again.kill()
            say(shut=shut, ended=ended, version=held.version, kept=kept, left=left, free=free)
    """,
    )
    assert facts["shut"] == [False, False]
    assert facts["ended"] == [True, False], "the block has run out, the approved profile stays"
    assert facts["version"] == 1
    assert facts["kept"] == [True, False]
    assert facts["left"] == ""
    assert facts["free"] == [True, True]


def test_the_command_line_removes_everything_also_when_nothing_runs(
    tmp_path: Path, in_namespace: tuple[str, ...]
) -> None:
    facts = play(
        in_namespace,
        tmp_path,
        """
        async def scenario():
            from thingward.runtime import enforcement
            warden = Warden()
            await warden.enforcer.hold("t", state(DNS))
            await warden.kill()
            shut = await reaches(device, GOOD, 443)
            removed = await asyncio.to_thread(enforcement.remove_everything, settings, "t")
            left = listing()
            status = await asyncio.to_thread(enforcement.enforcement_status, settings, "t")
            warden = Warden()
            told = await warden.enforcer.status("t")
            still_left = listing()
            resumed = await asyncio.to_thread(enforcement.resume_enforcement, settings, "t")
            shut_again = not await reaches(device, GOOD, 443)
            plan = await asyncio.to_thread(enforcement.plan_state, settings, state(DNS, version=2), "t")
            await warden.kill()
            say(shut=shut, removed=removed.status, left=left, off=status.available, told=told.available,
                still_left=still_left, resumed=resumed.status, shut_again=shut_again, trouble=plan.trouble)
    """,
    )
    assert not facts["shut"]
    assert (facts["removed"], facts["left"]) == ("undone", "")
    assert not facts["off"]
    assert not facts["told"], "a warden that starts later leaves it off"
    assert facts["still_left"] == ""
    assert (facts["resumed"], facts["shut_again"], facts["trouble"]) == ("applied", True, "")
