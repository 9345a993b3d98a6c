"""Does the candidate fail to carry a load that the other carries? Counted over deployments: one stall is no verdict."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats as scipy_stats

from lab.plan import BASE
from lab.regression.ruling import Sides
from lab.regression.seen import Seen


def barred(news: Sequence[Seen], old: Seen | None, sides: Sides, rate: float) -> str:
    """Who failed this rate on the ladder: it was not offered it again, so nothing can be said. Empty: nobody."""
    asked = [(seen, arm) for seen in news for arm in (BASE if old else sides.against, sides.candidate)]
    for seen, arm in [*asked, *([(old, BASE), (old, sides.against)] if old else [])]:
        if seen.knee(arm) <= rate:
            return f"{arm} failed {rate:g}/s on the ladder and was not offered it again; choose a lower --rate"
    return ""


def swamped(news: Sequence[Seen], old: Seen | None, sides: Sides, load: str, rate: float) -> tuple[str, float, float]:
    """(words, p, least p) of: the candidate is overloaded in no more deployments than the other.

    In one run by those deployments in which just one of them was (McNemar 1947, exact); of two runs by Fisher's exact
    test of those in which `none` was not.
    """
    only, other, _ = _counted(news, load, sides.candidate, BASE if old else sides.against)
    words = f"{sides.candidate} could not keep {rate:g}/s in {only} deployments in which the other could"
    if old is None:
        both = only + other
        return words, float(scipy_stats.binom.sf(only - 1, both, 0.5)), 0.5**both
    all_new = sum(_counted(news, load, sides.candidate, BASE))
    before, mirrored, calm = _counted([old], load, sides.against, BASE)
    all_old = before + mirrored + calm
    p, least = (
        float(scipy_stats.hypergeom.sf(count - 1, all_new + all_old, only + before, all_new))
        for count in (only, min(only + before, all_new))
    )
    return words, p, least


def _counted(found: Sequence[Seen], load: str, arm: str, base: str) -> tuple[int, int, int]:
    """Deployments in which only the arm was overloaded, only the base, or neither or both."""
    pairs = []
    for seen in found:
        bases = {p.run.trial: p.overloaded for p in seen.of_arm(load, base)}
        pairs += [(p.overloaded, bases[p.run.trial]) for p in seen.of_arm(load, arm) if p.run.trial in bases]
    return pairs.count((True, False)), pairs.count((False, True)), sum(one == two for one, two in pairs)
