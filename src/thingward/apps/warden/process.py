"""Serve the Enforcer port on an owner-only socket, with CAP_NET_ADMIN and no other right."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from thingward.adapters.enforcer.bounded import BoundedEnforcer
from thingward.adapters.enforcer.warden import (
    CHANNEL,
    AskStatus,
    Hold,
    Quarantine,
    Release,
    RemoveAll,
    Reply,
    Request,
    Resume,
    decode_request,
    encode_answer,
)
from thingward.adapters.link.unix import UnixLinkServer
from thingward.ports.link import Frame, Handler
from thingward.runtime.capabilities import NET_ADMIN, keep_capabilities
from thingward.runtime.config import Settings
from thingward.runtime.enforcement import build_enforcer, warden_socket

MEND_S: Final = 10.0

_log = structlog.get_logger("warden")


def handler_of(enforcer: BoundedEnforcer) -> Handler:
    """Give the handler of the channel `enforce`."""

    async def handle(peer: str, frame: Frame) -> Frame:
        request = decode_request(frame.body)
        reply = await answer(enforcer, request)
        log = _log.debug if isinstance(request, AskStatus) else _log.info
        log("asked", by=peer, step=type(request).__name__.lower(), answer=getattr(reply, "status", ""))
        return Frame(kind="answer", sequence=frame.sequence, channel=CHANNEL, body=encode_answer(reply))

    return handle


async def answer(enforcer: BoundedEnforcer, request: Request) -> Reply:
    """Carry out one request."""
    match request:
        case Hold(tenant, state):
            return await enforcer.hold(tenant, state)
        case Quarantine(tenant, action):
            return await enforcer.quarantine(tenant, action)
        case Release(tenant, action):
            return await enforcer.release(tenant, action)
        case AskStatus(tenant):
            return await enforcer.status(tenant)
        case RemoveAll(tenant):
            return await enforcer.remove_all(tenant)
        case Resume(tenant):
            return await enforcer.resume(tenant)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Take up what was held, then answer until told to stop. The rules stay when this ends."""
    kept = keep_capabilities({NET_ADMIN}, for_children=True)
    enforcer = build_enforcer(settings)
    trouble = await enforcer.start()
    _log.info("started", rights="CAP_NET_ADMIN" if kept else "none", trouble=trouble)
    link = UnixLinkServer(warden_socket(settings), name="warden")
    link.serve(CHANNEL, handler_of(enforcer))
    await link.start()
    mending = asyncio.create_task(_mend(enforcer), name="mend")
    try:
        await stop.wait()
    finally:
        mending.cancel()
        await asyncio.gather(mending, return_exceptions=True)  # unlike suppress, lets our own end through
        await link.close()


async def _mend(enforcer: BoundedEnforcer) -> None:
    while True:
        await asyncio.sleep(MEND_S)
        line = await enforcer.mend()
        if line:
            _log.warning("mended", what=line)
