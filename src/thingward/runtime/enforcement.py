"""What the command line does with the network's rules: through the warden while it runs, else by itself."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from thingward.adapters.clock.system import SystemClock
from thingward.adapters.enforcer.bounded import BoundedEnforcer
from thingward.adapters.enforcer.keeper import FileKeeper
from thingward.adapters.enforcer.nft_run import best_runner
from thingward.adapters.enforcer.nftables import NftRules
from thingward.adapters.enforcer.resolver import DnsmasqSnippet
from thingward.adapters.enforcer.warden import WardenEnforcer
from thingward.adapters.link.unix import UnixLinkClient
from thingward.model.action import EnforcementState, Limits, Outcome
from thingward.model.errors import InvalidInput, ThingwardError, Unavailable, UnsupportedHere
from thingward.model.ids import DEFAULT_TENANT
from thingward.ports.enforcer import EnforcerStatus
from thingward.runtime.config import Settings
from thingward.wire.nft import build_ruleset, render_file

T = TypeVar("T")
SNIPPET: Final = "dnsmasq-thingward.conf"
GREETING_S: Final = 2.0

_Task = Callable[[BoundedEnforcer | WardenEnforcer], Awaitable[T]]


class EnforcePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What putting a state in force would mean.

    Attributes:
        text: the whole ruleset as a file for `nft -f`.
        skipped: entries that cannot be enforced. trouble: what the kernel would say against it, empty if nothing.
    """

    text: str
    skipped: tuple[str, ...] = ()
    trouble: str = ""


def warden_socket(settings: Settings) -> Path:
    """Where the warden listens."""
    return settings.run_dir / "warden.sock"


def state_file(settings: Settings) -> Path:
    """Where the warden keeps what it holds."""
    return settings.home / "warden" / "state"


def build_enforcer(settings: Settings) -> BoundedEnforcer:
    """Make the enforcer of this machine from settings; touches nothing yet."""
    enforce, limits = settings.enforce, settings.limits
    snippet = Path(enforce.dnsmasq_snippet) if enforce.dnsmasq_snippet else settings.home / SNIPPET
    return BoundedEnforcer(
        NftRules(enforce.path),
        SystemClock(),
        limits=Limits(
            fleet_share_per_hour=limits.fleet_share_per_hour,
            min_devices_per_hour=limits.min_devices_per_hour,
            max_ttl_s=limits.max_ttl_hours * 3600.0,
            never_block=enforce.never_block,
        ),
        keeper=FileKeeper(state_file(settings)),
        tell_resolver=DnsmasqSnippet(snippet, shlex.split(enforce.dnsmasq_restart)),
    )


def enforcement_status(settings: Settings, tenant: str = DEFAULT_TENANT) -> EnforcerStatus:
    """Tell what is in force; without a warden the kernel is asked directly."""
    return _ask(settings, lambda enforcer: enforcer.status(tenant))


def remove_everything(settings: Settings, tenant: str = DEFAULT_TENANT) -> Outcome:
    """Remove every rule that was ever set and stay off until `resume_enforcement`, warden or no warden."""
    return _ask(settings, lambda enforcer: enforcer.remove_all(tenant))


def resume_enforcement(settings: Settings, tenant: str = DEFAULT_TENANT) -> Outcome:
    """Take up enforcement again after `remove_everything`."""
    return _ask(settings, lambda enforcer: enforcer.resume(tenant))


def apply_state(settings: Settings, state: EnforcementState, tenant: str = DEFAULT_TENANT) -> Outcome:
    """Put a state in force; core replaces it with its own when it next changes something."""
    return _ask(settings, lambda enforcer: enforcer.hold(tenant, state))


def read_state(path: Path) -> EnforcementState:
    """Read an EnforcementState from a JSON file; raises InvalidInput with the place of what is wrong."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=EnforcementState)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is no enforcement state: {error}.") from error


def plan_state(settings: Settings, state: EnforcementState, tenant: str = DEFAULT_TENANT) -> EnforcePlan:
    """Say what a state would mean, and let the kernel check it; changes nothing."""
    rules = NftRules(settings.enforce.path)
    why = rules.unusable()
    if why:
        ruleset = build_ruleset({tenant: state})
        return EnforcePlan(text=render_file(ruleset), skipped=ruleset.skipped, trouble=why)
    ruleset = build_ruleset({tenant: state}, families=rules.families, tracked=rules.tracked)
    text = render_file(ruleset)
    try:
        best_runner().run(text, check_only=True)
    except (Unavailable, UnsupportedHere) as error:
        return EnforcePlan(text=text, skipped=ruleset.skipped, trouble=str(error))
    return EnforcePlan(text=text, skipped=ruleset.skipped)


def _ask(settings: Settings, task: _Task[T]) -> T:
    return asyncio.run(_ask_async(settings, task))


async def _ask_async(settings: Settings, task: _Task[T]) -> T:
    link = UnixLinkClient(warden_socket(settings), name="cli")
    try:
        if warden_socket(settings).exists() and await _is_there(link):
            return await task(WardenEnforcer(link))
    finally:
        await link.close()
    enforcer = build_enforcer(settings)
    await enforcer.recall()
    return await task(enforcer)


async def _is_there(link: UnixLinkClient) -> bool:
    try:
        await WardenEnforcer(link, timeout_s=GREETING_S).status(DEFAULT_TENANT)
    except ThingwardError:
        return False
    return True
