"""What the rest may ask of the sample site's simulator: how it is, and that a device turns bad."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from thingward.ports.link import LinkClient
from thingward.runtime.config import Settings

CHANNEL: Final = "simulator"


class SimulatorRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request; `device` is a key, address, hardware address or host name, empty for the simulator's choice.

    Attributes:
        step: `attack` and `calm` begin and end an attack; `beat` lets a device send at a steady rate, so that the
            moment in which it is shut out is seen.
    """

    step: Literal["report", "attack", "calm", "beat"] = "report"
    device: str = ""


def simulator_socket(settings: Settings) -> Path:
    """Where the simulator listens, if there is one."""
    return settings.run_dir / "simulator.sock"


async def start_attack(link: LinkClient, device: str = "") -> None:
    """Let a simulated device turn bad; raises NotFound or Unavailable."""
    await link.call(CHANNEL, msgspec.msgpack.encode(SimulatorRequest(step="attack", device=device)))
