"""Who listens where, on which channels, and what is said there, beside records and intents."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from thingward.model.intent import Answer, Intent
from thingward.model.packed import unpack
from thingward.runtime.config import Settings
from thingward.runtime.flow import StageMetrics
from thingward.runtime.pack_info import PackInfo

#: To core: batches of observations, acknowledged once the journal has them on disk.
OBSERVATIONS: Final = "observations"
#: To core: calls with an `Intent`, answered by an `Answer`.
INTENT: Final = "intent"
#: From core: pushes with encoded batches of records as they pass.
LIVE: Final = "live"
#: To core and store: calls answered by `CoreStatus`, `StoreStatus`.
STATUS: Final = "status"
#: From core: pushes that tell a simulated site what to do; only in the demo.
DEMO: Final = "demo"
#: To every process that listens: an empty call with an empty answer.
PING: Final = "ping"
#: To store: batches of events and findings, acknowledged once they are durable.
EVENTS: Final = "events"
#: To store: calls with a question of the EventStore port.
QUERY: Final = "query"


class CoreStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How core is.

    Attributes:
        started: seconds since 1970.
        unsafe_since: since when the journal cannot be written (nothing is acknowledged), 0 if it can.
        store_away_since: since when events wait in the spool for the store, 0 if they do not.
        peers: who is connected, `<name>#<stream>`.
        counters: name to value, for /metrics.
        stages: what each stage did.
        problems: plain lines, each with what to do.
        packs: indicator packs in use.
    """

    started: float = 0.0
    unsafe_since: float = 0.0
    store_away_since: float = 0.0
    peers: tuple[str, ...] = ()
    counters: dict[str, float] = {}
    stages: dict[str, StageMetrics] = {}
    problems: tuple[str, ...] = ()
    packs: tuple[PackInfo, ...] = ()


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the event store is: size of file and log in bytes, counters, version of its tables (0: it does not say)."""

    file_bytes: int = 0
    wal_bytes: int = 0
    counters: dict[str, float] = {}
    schema_version: int = 0


_intents = msgspec.msgpack.Decoder(Intent)
_answers = msgspec.msgpack.Decoder(Answer)


def socket_of(settings: Settings, process: str) -> Path:
    """Give the socket of `core`, `store`, `warden` or `supervisor`."""
    return settings.run_dir / f"{process}.sock"


def encode_intent(intent: Intent) -> bytes:
    """Pack an intent for the channel `intent`."""
    return msgspec.msgpack.encode(intent)


def decode_intent(body: bytes) -> Intent:
    """Unpack an intent; raises InvalidInput on anything else."""
    return unpack(_intents, body, "an intent")


def encode_answer(answer: Answer) -> bytes:
    """Pack an answer to an intent."""
    return msgspec.msgpack.encode(answer)


def decode_answer(body: bytes) -> Answer:
    """Unpack an answer; raises InvalidInput on anything else."""
    return unpack(_answers, body, "an answer")
