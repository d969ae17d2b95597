"""May a stream go on: asked again while it lasts, so that a revoked session or token ends it."""

from __future__ import annotations

from thingward.apps.server.callers import Caller, verify
from thingward.apps.server.deps import Deps
from thingward.identity.credentials import verify_session, verify_token
from thingward.model.errors import ThingwardError
from thingward.model.principal import Principal, Session, Token


def still_allowed(deps: Deps, caller: Caller, access: object) -> bool:
    """Read session or token and owner again, and tell whether they still cover this access."""
    control, tenant, now = deps.backend.control, deps.tenant, deps.now()
    try:
        verify(caller, access)
        owner = control.get(tenant, Principal, caller.uid)
        if caller.token is not None:
            verify_token(control.get(tenant, Token, caller.token.uid), owner, now)
        elif caller.session is not None:
            verify_session(control.get(tenant, Session, caller.session.uid), owner, now)
    except ThingwardError:
        return False
    return True
