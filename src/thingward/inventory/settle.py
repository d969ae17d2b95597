"""How settled a profile is: thresholds, each with its reason in docs/profiles.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from thingward.model.profile import Settledness

OBSERVED_S: Final = 3 * 86_400.0
QUIET_SHARE: Final = 0.25
QUIET_S: Final = 86_400.0
DAYS: Final = 3
BOUND: Final = 0.10
CURVE_POINTS: Final = 64
WEEK_HOURS: Final = 168


def unseen_bound(flows: int) -> float:
    """Give the upper 95 % bound of the share of new flows after `flows` flows without a new one.

    The exact form of the rule of three: (1 - p)^n = 0.05; 0 of 100 still allows 3 %.
    """
    return 1.0 if flows <= 0 else float(1.0 - 0.05 ** (1.0 / flows))


def settledness(
    *,
    first: float,
    last: float,
    flows: int,
    flows_since_new: int,
    last_new: float,
    days: int,
    hours: int,
    curve: Sequence[tuple[int, int]],
    unopened: Sequence[str],
    one_sided: bool,
) -> Settledness:
    """Judge how settled a profile is.

    Args:
        first, last: seconds since 1970 of the first and last flow.
        flows: telling flows (that no safe default covers); flows_since_new: those after the last new entry.
        days, hours: distinct days, and distinct hours of the week, in which the device was active.
        unopened: addresses without a name whose connections all began before the device was watched.
        one_sided: answers were never seen.
    """
    observed = max(last - first, 0.0)
    quiet = max(last - last_new, 0.0) if flows else observed
    bound = unseen_bound(flows_since_new)
    missing = []
    if observed < OBSERVED_S:
        missing.append(f"watched for {_span(observed)}; {_span(OBSERVED_S)} are needed")
    if days < DAYS:
        missing.append(f"active on {days} {'day' if days == 1 else 'days'}; {DAYS} are needed")
    needed = max(QUIET_S, QUIET_SHARE * observed)
    if quiet < needed:
        missing.append(f"nothing new for {_span(quiet)}; {_span(needed)} are needed")
    if flows and bound > BOUND:
        missing.append(
            f"{flows_since_new} flows since the last new one bound what is still unseen to {bound:.0%} only; "
            f"{BOUND:.0%} is needed"
        )
    if unopened:
        some = ", ".join(unopened[:3])
        missing.append(
            f"connections to {some} began before the watch, so their names are not known: restart the device"
        )
    if one_sided:
        missing.append("no answers are seen: the capture may hold one direction only")
    return Settledness(
        observed_s=observed,
        flows=flows,
        since_new_s=quiet,
        week_share=min(hours / WEEK_HOURS, 1.0),
        unseen_bound=bound,
        is_settled=not missing,
        curve=tuple(curve),
        missing=tuple(missing),
    )


def thin(curve: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Halve a learning curve that has become too long; its ends stay."""
    return curve if len(curve) <= CURVE_POINTS else [*curve[:-1:2], curve[-1]]


def _span(seconds: float) -> str:
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:.1f} days"
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"
