"""Small icons of our own: strokes on a grid of 24, drawn with the text's colour."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

_PATHS: Final = {
    "home": "M4 11 12 4l8 7v8a1 1 0 0 1-1 1h-4v-6H9v6H5a1 1 0 0 1-1-1z",
    "devices": "M3 5h12v9H3z M6 18h6 M9 14v4 M17 9h4v11h-4z M19 17h.01",
    "alert": "M12 4 2.8 20h18.4z M12 10v4 M12 17h.01",
    "case": "M4 8h16v11H4z M9 8V5h6v3 M4 13h16",
    "check": "M4 12.5 9.5 18 20 7",
    "shield": "M12 3 5 6v5c0 5 3 8.5 7 10 4-1.5 7-5 7-10V6z",
    "shield-check": "M12 3 5 6v5c0 5 3 8.5 7 10 4-1.5 7-5 7-10V6z M8.5 12l2.5 2.5 4.5-5",
    "pulse": "M3 12h4l3-7 4 14 3-7h4",
    "log": "M6 3h9l4 4v14H6z M14 3v5h5 M9 12h7 M9 16h7",
    "settings": "M4 7h9 M17 7h3 M4 12h3 M11 12h9 M4 17h11 M19 17h1 M15 5v4 M9 10v4 M17 15v4",
    "book": "M5 4h10a4 4 0 0 1 4 4v12H8a3 3 0 0 1-3-3z M5 17a3 3 0 0 1 3-3h11",
    "status": "M4 20V10 M10 20V4 M16 20v-7 M22 20H2",
    "evidence": "M7 3h10v6a5 5 0 0 1-10 0z M12 14v4 M8 21h8 M12 18h0",
    "user": "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8z M4 21c.8-4 4-6 8-6s7.2 2 8 6",
    "users": "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z M2.5 20c.6-3.6 3-5.4 6.5-5.4s5.900 1.800 6.500 5.400 M16 4.500a3.500 3.500 0 0 1 0 6.500 M18 14.900c2 .6 3.200 2.300 3.600 5.100",
    "search": "M10.500 17a6.500 6.500 0 1 0 0-13 6.500 6.500 0 0 0 0 13z M15.500 15.500 21 21",
    "menu": "M4 7h16 M4 12h16 M4 17h16",
    "close": "M6 6l12 12 M18 6 6 18",
    "moon": "M20 14.500A8 8 0 0 1 9.500 4 8 8 0 1 0 20 14.500z",
    "undo": "M8 5 4 9l4 4 M4 9h10a6 6 0 0 1 0 12h-3",
    "block": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M5.700 5.700l12.600 12.600",
    "unknown": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M9.500 9.500a2.500 2.500 0 1 1 3.500 2.300c-.7.4-1 .9-1 1.700 M12 17h.01",
    "eye": "M2.500 12C5 7.500 8.200 5.300 12 5.300s7 2.200 9.500 6.700c-2.500 4.500-5.700 6.700-9.500 6.700S5 16.500 2.500 12z M12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6z",
    "eye-off": "M4 4l16 16 M9.900 5.500A9 9 0 0 1 12 5.300c3.800 0 7 2.200 9.500 6.700a17 17 0 0 1-2.300 3.200 M6.200 7.300A16 16 0 0 0 2.500 12c2.500 4.500 5.700 6.700 9.500 6.700 1.500 0 2.900-.3 4.200-1",
    "edit": "M4 20h4L19 9l-4-4L4 16z M13 7l4 4",
    "clock": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M12 7v5l3.500 2",
    "download": "M12 4v11 M7.500 11 12 15.500 16.500 11 M5 20h14",
    "upload": "M12 16V5 M7.500 9 12 4.500 16.500 9 M5 20h14",
    "plus": "M12 5v14 M5 12h14",
    "trash": "M4 7h16 M9 7V4h6v3 M6.500 7l1 13h9l1-13 M10 11v5 M14 11v5",
    "key": "M8 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8z M12 12h9 M18 12v4",
    "logout": "M10 4H5v16h5 M15 8l4 4-4 4 M19 12H9",
    "arrow": "M5 12h14 M13 6l6 6-6 6",
    "bolt": "M13 3 5 14h6l-1 7 8-11h-6z",
    "network": "M12 8a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z M5.500 21a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z M18.500 21a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z M12 8v4 M12 12l-5 4.500 M12 12l5 4.500",
    "pause": "M8 5v14 M16 5v14",
    "info": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M12 11v6 M12 7.500h.01",
    "file": "M6 3h8l4 4v14H6z M14 3v5h5",
    "camera": "M3 8h12v9H3z M15 11.500l6-3v8l-6-3 M6.500 11h.01",
    "plug": "M9 3v5 M15 3v5 M6 8h12v3a6 6 0 0 1-12 0z M12 17v4",
    "bulb": "M9 17a6.500 6.500 0 1 1 6 0v2H9z M10 22h4",
    "hub": "M5 13h14v6H5z M8 16h.01 M12 16h.01 M9 9a4.500 4.500 0 0 1 6 0 M6.500 6.500a8 8 0 0 1 11 0",
    "thermostat": "M10 13.500V5a2 2 0 1 1 4 0v8.500a4 4 0 1 1-4 0z M12 9v7",
    "speaker": "M7 3h10v18H7z M12 17a3 3 0 1 0 0-6 3 3 0 0 0 0 6z M12 7h.01",
    "tv": "M3 6h18v11H3z M8 21h8",
    "printer": "M7 9V4h10v5 M4 9h16v8h-3 M7 17H4V9 M7 14h10v6H7z",
    "doorbell": "M8 3h8v18H8z M12 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4z M12 16h.01",
    "vacuum": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M12 14a3 3 0 1 0 0-6 3 3 0 0 0 0 6z M12 3v2",
    "storage": "M4 5h16v6H4z M4 13h16v6H4z M7.500 8h.01 M7.500 16h.01",
    "lock": "M6 11h12v9H6z M8.500 11V8a3.500 3.500 0 0 1 7 0v3 M12 15v2",
    "sensor": "M12 14a2 2 0 1 0 0-4 2 2 0 0 0 0 4z M7.800 16.200a6 6 0 0 1 0-8.400 M16.200 7.800a6 6 0 0 1 0 8.400 M5 19a10 10 0 0 1 0-14 M19 5a10 10 0 0 1 0 14",
    "phone": "M8 3h8v18H8z M11 18h2",
    "tablet": "M5 3h14v18H5z M11 18h2",
    "computer": "M5 5h14v10H5z M3 19h18",
    "gateway": "M4 13h16v6H4z M8 16h.01 M16 13V6 M8.500 8.500a5 5 0 0 1 4-3.500",
    "server": "M5 4h14v16H5z M8 8h8 M8 12h8 M12 16h.01",
    "external": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M3 12h18 M12 3c3 3 3.500 6 3.500 9s-.5 6-3.500 9c-3-3-3.500-6-3.500-9S9 6 12 3z",
}  # fmt: skip
_KINDS: Final = {
    "access point": "gateway",
    "router": "gateway",
    "appliance": "plug",
    "meter": "sensor",
    "laptop": "computer",
    "smart plug": "plug",
    "light": "bulb",
}


def icon(name: str, size: int = 18) -> Markup:
    """Give an icon as SVG; it says nothing that the text beside it does not say."""
    path = _PATHS.get(name, _PATHS["unknown"])
    return Markup(
        '<svg class="icon" width="{0}" height="{0}" viewBox="0 0 24 24" aria-hidden="true" focusable="false">'
        '<path d="{1}"/></svg>'
    ).format(size, path)


def kind_icon(kind: str, size: int = 18) -> Markup:
    """Give the icon of a kind of device; a question mark for what nobody can identify."""
    name = _KINDS.get(kind, kind)
    return icon(name if name in _PATHS and kind else "unknown" if not kind else "network", size)
