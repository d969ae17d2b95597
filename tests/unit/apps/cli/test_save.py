"""`guard --save`: what is saved belongs to the platform's site."""

from __future__ import annotations

from typing import Any

import pytest

from thingward.apps.cli import save


class Platform:
    """Answers one question."""

    def __init__(self, items: list[dict[str, str]]) -> None:
        self.items = items

    def call(self, method: str, path: str) -> Any:
        assert (method, path) == ("GET", "/settings")
        return {"items": self.items}


@pytest.mark.parametrize(("items", "site"), [([{"name": "site.name", "value": "lab"}], "lab"), ([], "")])
def test_the_site_is_the_platforms_own(monkeypatch: pytest.MonkeyPatch, items: list[dict[str, str]], site: str) -> None:
    monkeypatch.setattr(save, "connect", lambda: Platform([{"name": "log_level", "value": "info"}, *items]))
    assert save.platform_site() == site
