"""What a count of refusals bounds: exact binomial limits, without tables."""

from __future__ import annotations

import math
from typing import Final

_MISS: Final = 0.05


def share_bound(hits: int, total: int) -> float:
    """Give the upper 95 % bound of a share of which `hits` of `total` were seen (Clopper-Pearson, one-sided).

    0 of 100 gives 3 %: the rule of three in its exact form. 1 where nothing was seen.
    """
    if total <= 0 or hits >= total:
        return 1.0
    if hits == 0:
        return float(1.0 - _MISS ** (1.0 / total))
    low, high = hits / total, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(hits, total, middle) > _MISS else (low, middle)
    return high


def _at_most(hits: int, total: int, share: float) -> float:
    """Give the chance of at most `hits` of `total` at a true share, summed in logarithms."""
    if share >= 1.0:
        return 0.0
    log_share, log_rest = math.log(share), math.log1p(-share)
    sum_ = 0.0
    for count in range(hits + 1):
        chosen = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
        sum_ += math.exp(chosen + count * log_share + (total - count) * log_rest)
    return min(sum_, 1.0)
