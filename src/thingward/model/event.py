"""The normalised record: an observation that knows its OCSF class and its devices."""

from __future__ import annotations

from thingward.model.ids import DEFAULT_SITE
from thingward.model.observation import Data, Endpoint
from thingward.model.record import Record


class Event(Record, frozen=True, kw_only=True, tag="event"):
    """One OCSF event in compact form; `sensing.ocsf.to_ocsf` renders the full JSON.

    Attributes:
        class_uid: OCSF class, see `thingward.model.ocsf`.
        activity_id: the class's activity.
        severity: OCSF severity_id, 1 informational to 5 critical.
        src, dst: endpoints; inventory fills in `device`.
        data: the observation's body without secrets.
        message: what to tell people where the data does not say it; mostly empty, see `model.event_line`.
    """

    class_uid: int
    activity_id: int = 0
    severity: int = 1
    site: str = DEFAULT_SITE
    src: Endpoint | None = None
    dst: Endpoint | None = None
    data: Data
    message: str = ""
