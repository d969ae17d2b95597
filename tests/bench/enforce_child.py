"""What the enforcement benchmarks run inside a network namespace of their own; asked and answered line by line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from thingward.adapters.enforcer.nft_run import NftLibrary, NftProgram
from thingward.adapters.enforcer.nftables import NftRules
from thingward.adapters.enforcer.warden import WardenEnforcer
from thingward.adapters.link.unix import UnixLinkClient
from thingward.model.action import Action, ActionKind
from thingward.model.ids import Tenant, Uid
from thingward.runtime.config import Settings
from thingward.runtime.enforcement import warden_socket
from thingward.runtime.simulated import CHANNEL, SimulatorRequest, simulator_socket

ELEMENTS = 200


def say(**facts: Any) -> None:
    """Answer."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def elements(count: int = ELEMENTS) -> None:
    """Add and delete single set elements, by the library and by the program."""
    rules = NftRules("router")
    rules.unusable()
    rules.hold({})
    runners = {"ours": NftLibrary(), "peer": NftProgram("/usr/sbin/nft")}
    for line in sys.stdin:
        runner = runners[line.strip()]
        place = "element inet thingward quarantine_mac"
        texts = [f"{place} {{ 02:00:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(count)]
        started = time.perf_counter()
        for text in texts:
            runner.run(f"add {text} timeout 60s }}\n")
        took = time.perf_counter() - started
        runner.run("".join(f"delete {text} }}\n" for text in texts))
        say(rate=count / took)


class Site:
    """The sample site and a warden, as children in this namespace."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=str(folder))
        (folder / "run").mkdir(parents=True, exist_ok=True, mode=0o700)
        self.children = [
            subprocess.Popen(
                [
                    sys.executable, "-m", "thingward.apps.simulator", "--socket", str(simulator_socket(self.settings)),
                    "--snippet", str(folder / "dnsmasq-thingward.conf"), "--background", "1000",
                ],
                stdout=subprocess.DEVNULL,
            ),
            subprocess.Popen(
                [sys.executable, "-m", "thingward.apps.warden", "--data-dir", str(folder)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            ),
        ]  # fmt: skip
        self.simulator = UnixLinkClient(simulator_socket(self.settings), name="bench")
        self.warden = WardenEnforcer(UnixLinkClient(warden_socket(self.settings), name="bench"))

    async def ask(self, step: str, **fields: Any) -> dict[str, Any]:
        """Ask the simulator."""
        body = msgspec.msgpack.encode(SimulatorRequest(step=step, **fields))  # type: ignore[arg-type]
        answer: dict[str, Any] = msgspec.msgpack.decode(await self.simulator.call(CHANNEL, body, timeout_s=30))
        return answer

    def close(self) -> None:
        """End the children."""
        for child in self.children:
            child.terminate()
            child.wait()


def listing() -> str:
    """The kernel's rules, without what counts or runs out."""
    return subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


async def enforcer_alone(folder: Path) -> None:
    """Shut one device out while it sends a packet every millisecond: from the call to the last packet that arrived."""
    site = Site(folder)
    try:
        camera = (await site.ask("report"))["devices"]["camera"]
        mac = "3c:33:00:5a:10:21"
        await site.warden.status("t")
        for number, _ in enumerate(sys.stdin):
            await site.ask("beat", device="camera")
            await asyncio.sleep(0.05)
            before = listing()
            action = Action(
                uid=Uid(f"a-{number}"), tenant=Tenant("t"), time=time.time(), source="bench", kind=ActionKind.QUARANTINE,
                device="camera", macs=(mac,), addresses=(camera,), ttl_s=600.0,
            )  # fmt: skip
            asked = time.time()
            outcome = await site.warden.quarantine("t", action)
            answered = time.time()
            await asyncio.sleep(0.05)
            report = (await site.ask("calm"))["beat"]
            undone = await site.warden.release("t", action)
            say(
                took=max(0.0, report["ended"] - asked), answered=answered - asked, status=outcome.status,
                exact=listing() == before and undone.state_after == outcome.state_before, arrived=report["arrived"],
            )  # fmt: skip
    finally:
        site.close()


if __name__ == "__main__":
    if sys.argv[1] == "elements":
        elements()
    else:
        asyncio.run(enforcer_alone(Path(sys.argv[2])))
