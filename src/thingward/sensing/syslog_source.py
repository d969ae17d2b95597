"""Syslog lines and datagrams to observations."""

from __future__ import annotations

from datetime import datetime

from thingward.model.observation import Endpoint, LogData, Observation
from thingward.model.record import Malformed
from thingward.sensing.attributes import identity
from thingward.sensing.log_files import Body, LogContext, LogTally
from thingward.wire.syslog import SyslogMessage, decode_syslog

MAX_CLOCK_ERROR_S = 86400.0


class SyslogSource:
    """Reads what one listener or file delivers.

    Devices' clocks are often wrong: a message's own time counts only where it is within a day of the arrival.
    """

    def __init__(self, context: LogContext, name: str = "syslog") -> None:
        self.tally = LogTally(context, name)
        self.tally.format = "syslog"

    def feed(self, line: bytes, now: float, sender: Endpoint | None = None) -> list[Observation]:
        """Take one message as it arrived at `now` (seconds since 1970); gives its record, or a Malformed one."""
        tally = self.tally
        tally.lines += 1
        tally.bytes += len(line) + 1
        if not line.strip():
            return []
        message = decode_syslog(line)
        if isinstance(message, Malformed):
            return [tally.observation(now, sender, None, message, 0, line)]
        time = message_time(message, now)
        bodies: list[Body] = [(time, sender, None, log_data(message))]
        body = identity("syslog", ("syslog.host", message.host), confidence=0.4)
        if body is not None and sender is not None:
            bodies.append((time, sender, None, body))
        return tally.observations(bodies, line)


def message_time(message: SyslogMessage, now: float) -> float:
    """Give the time of the message itself if it carries one with a zone that is plausible, else the arrival's."""
    if message.version != 1 or not message.timestamp:
        return now
    try:
        moment = datetime.fromisoformat(message.timestamp)
        time = moment.timestamp() if moment.tzinfo is not None else now
    except (ValueError, OverflowError):
        return now
    return time if abs(time - now) <= MAX_CLOCK_ERROR_S else now


def log_data(message: SyslogMessage) -> LogData:
    """Turn a syslog message into its body."""
    return LogData(
        host=message.host,
        app=message.app,
        facility=message.facility,
        severity=message.severity,
        message=message.text,
    )
