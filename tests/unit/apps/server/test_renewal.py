"""A server that runs for months takes up a renewed certificate by itself."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from thingward.apps.server import process
from thingward.model.errors import InvalidInput


class Ended(Exception):
    """The test's own end of an endless task."""


def test_new_connections_get_the_new_certificate_and_trouble_does_not_end_that(monkeypatch):
    loaded = []
    given = iter(["a", OSError("disk"), InvalidInput("no CA"), "b", Ended()])

    def make(settings, host):
        found = next(given)
        if isinstance(found, Exception):
            raise found
        return SimpleNamespace(chain_file=found, key_file=f"{found}.key")

    monkeypatch.setattr(process, "RENEW_S", 0.0)
    monkeypatch.setattr(process, "console_certificate", make)
    config = SimpleNamespace(ssl=SimpleNamespace(load_cert_chain=lambda *files: loaded.append(files)))
    with pytest.raises(Ended):
        asyncio.run(process._renew(config, None, "0.0.0.0"))
    assert loaded == [("a", "a.key"), ("b", "b.key")]
