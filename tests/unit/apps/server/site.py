"""Options, application and clients for the server's tests."""

from __future__ import annotations

from pathlib import Path

from thingward.apps.server.backend import Options


def options_for(folder: Path, *, demo: bool = False, **more: object) -> Options:
    """Options of a server under test; captures are judged by a stand-in unless told otherwise."""
    values = {
        "data_dir": folder,
        "version": "0.1.0",
        "site": "home",
        "demo": demo,
        "demo_note": "Every device is made up; nothing real is touched." if demo else "",
        "interfaces": (),
        "file_settings": (
            ("server.host", "127.0.0.1", "Address to listen on; anything but loopback needs TLS."),
            ("server.port", "8443", "TCP port; 0 takes a free one."),
            ("notify.min_severity", "4", "Least severity (1 to 5) that is sent at once."),
            ("notify.daily_budget", "20", "Messages to people per day; what is beyond waits for the digest."),
            ("store.retention_days", "30.0", "Events older than this are deleted."),
        ),
    }
    return Options(**{**values, **more})  # type: ignore[arg-type]
