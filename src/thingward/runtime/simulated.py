"""What the rest may ask of the sample site's simulator: how it is, and that a device turns bad."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from thingward.model.errors import Unavailable
from thingward.model.packed import unpack
from thingward.ports.link import LinkClient
from thingward.runtime.config import Settings

CHANNEL: Final = "simulator"
#: Pushes of (seconds since 1970, text): what happens at the simulated site.
NEWS: Final = "news"


class SimulatorRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request; `device` is a key, address, hardware address or host name, empty for the simulator's choice.

    Attributes:
        step: `begin` lets the devices live, if they were told to wait; `attack` and `calm` begin and end an attack; `beat` lets a device send at a steady rate, so that the
            moment in which it is shut out is seen.
    """

    step: Literal["report", "begin", "attack", "calm", "beat"] = "report"
    device: str = ""


def simulator_socket(settings: Settings) -> Path:
    """Where the simulator listens, if there is one."""
    return settings.run_dir / "simulator.sock"


class AttackReport(msgspec.Struct, frozen=True, kw_only=True):
    """Where an attack stands.

    Attributes:
        began: when its first packet went out, seconds since 1970, 0 before. sent: packets and connections tried.
    """

    device: str
    phase: str
    began: float
    sent: int


class BeatReport(msgspec.Struct, frozen=True, kw_only=True):
    """Small packets that a device sends to the cloud at a steady rate, to see when it is shut out.

    Attributes:
        ended: when the last one arrived, seconds since 1970.
    """

    sent: int
    arrived: int
    ended: float


class SiteReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the site is.

    Attributes:
        devices: key to address.
        done, failed: calls that worked and that did not, by device and peer. reasons: why the last one did not.
        news: what happened, (seconds since 1970, text), newest last.
    """

    devices: dict[str, str]
    resolver: str
    done: dict[str, dict[str, int]]
    failed: dict[str, dict[str, int]]
    reasons: dict[str, dict[str, str]]
    news: tuple[tuple[float, str], ...]
    attack: AttackReport | None = None
    beat: BeatReport | None = None


_reports = msgspec.msgpack.Decoder(SiteReport)


async def ask_simulator(link: LinkClient, request: SimulatorRequest) -> SiteReport:
    """Ask, and hear how the site is then; raises NotFound or Unavailable."""
    answer = await link.call(CHANNEL, msgspec.msgpack.encode(request), timeout_s=30.0)
    return unpack(_reports, answer, "a report of the simulator", Unavailable)
