"""Webhook: JSON by POST with an HMAC over time and body, so that a receiver can refuse forged and replayed calls."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import httpx
import msgspec

from thingward.model.errors import Unavailable
from thingward.model.flow import Notify
from thingward.model.record import Record

TIMEOUT_S = 10.0


class WebhookNotifier:
    """Posts messages to one address; redirects are not followed, so that the signature goes nowhere else."""

    name = "webhook"

    def __init__(self, url: str, secret: bytes, clock: Callable[[], float]) -> None:
        self._url = url
        self._secret = secret
        self._clock = clock

    async def notify(self, tenant: str, message: Notify) -> None:
        """Post one message; raises Unavailable unless the answer is 2xx."""
        body = msgspec.json.encode({"version": 1, "tenant": tenant, "message": message})
        headers = {"content-type": "application/json", "user-agent": "thingward", **self._signature(body, message.uid)}
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client:
                answer = await client.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable(f"webhook failed: {type(error).__name__}.", hint="Check notify.webhook.url.") from error
        if not 200 <= answer.status_code < 300:
            raise Unavailable(f"webhook answered {answer.status_code}.", hint="Check notify.webhook.url.")

    async def export(self, tenant: str, record: Record) -> None:
        """Records are not for people."""

    def _signature(self, body: bytes, uid: str) -> dict[str, str]:
        stamp = str(int(self._clock()))
        headers = {"x-thingward-delivery": uid, "x-thingward-time": stamp}
        if self._secret:
            digest = hmac.new(self._secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
            headers["x-thingward-signature"] = f"sha256={digest}"
        return headers
