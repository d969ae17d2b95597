"""What a detection rule is: what it takes, what it may say, and the state that it keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import msgspec

from thingward.detection.knowledge import SiteKnowledge
from thingward.detection.window import DistinctWindow, SumWindow
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.finding import FindingArtifact
from thingward.model.observation import Endpoint

Window = DistinctWindow | SumWindow


class RuleInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What people read of a kind of finding; docs/findings.md lists every one.

    Attributes:
        severity, confidence: the usual ones; a hit may say otherwise.
        attack: MITRE ATT&CK technique ids (Enterprise `T1...`, ICS `T0...`).
        class_uid: OCSF 2004 detection, 2002 vulnerability, 2003 compliance.
        repeat_s: the same key is reported again after this time at the earliest, in seconds.
        suggested: actions that would help.
    """

    id: str
    title: str
    severity: int
    confidence: float
    attack: tuple[str, ...] = ()
    class_uid: int = 2004
    repeat_s: float = 600.0
    suggested: tuple[str, ...] = ()


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a rule found something.

    Attributes:
        rule: id of one of the rule's infos. key: what makes it the same matter, within the rule and site.
        device: uid of the offender or of the weak device; target: uid of the one attacked.
        severity, confidence: 0 and below 0 take the info's.
        first: time of the first event behind it, seconds since 1970.
        count: events that it stands for.
    """

    rule: str
    key: str
    reason: str
    title: str = ""
    device: str = ""
    target: str = ""
    src: Endpoint | None = None
    dst: Endpoint | None = None
    severity: int = 0
    confidence: float = -1.0
    first: float = 0.0
    count: int = 1
    artifacts: tuple[FindingArtifact, ...] = ()


class Rule(Protocol):
    """A plugin of the detection stage; one instance per tenant and site, so it never sees another's data.

    `takes` names the event bodies (`FlowData` ...) and records (`Device`) that it wants.
    """

    infos: ClassVar[tuple[RuleInfo, ...]]
    takes: ClassVar[tuple[type, ...]]

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at one record; event time is the only clock."""
        ...

    def tick(self, now: float, site: SiteKnowledge) -> Iterable[Hit]:
        """Let time pass."""
        ...

    def state(self) -> object:
        """Give plain data (what MessagePack holds) for a snapshot."""
        ...

    def load(self, state: Any) -> None:
        """Take what `state` gave; raises InvalidInput for anything else."""
        ...


class WindowRule:
    """Base of rules whose whole state is windows: subclasses fill `windows` in their constructor."""

    infos: ClassVar[tuple[RuleInfo, ...]] = ()
    takes: ClassVar[tuple[type, ...]] = ()

    def __init__(self) -> None:
        self.windows: dict[str, Window] = {}

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Say nothing; subclasses do."""
        return ()

    def tick(self, now: float, site: SiteKnowledge) -> Iterable[Hit]:
        """Say nothing: windows go by the events' time."""
        return ()

    def state(self) -> object:
        """Give all windows."""
        return {name: window.state() for name, window in self.windows.items()}

    def load(self, state: Any) -> None:
        """Take all windows; one that is new since the snapshot starts empty."""
        for name, window in self.windows.items():
            if isinstance(state, dict) and name in state:
                window.load(state[name])


def who(endpoint: Endpoint) -> str:
    """Name an endpoint for keys: device, else address, else hardware address."""
    return endpoint.device or endpoint.ip or endpoint.mac
