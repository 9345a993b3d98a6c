"""The ledger: each rule holds, fails and stays undecided where it must, from a summary alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from lab import claims, stats
from lab.claims import footprint, growth, order, words
from lab.record import Verdict, Word
from lab.scenario import find_question
from lab.summary import Accounting, Capacity, Contrast, Estimate, Memory, Sockets, Summary
from lab.summary.results import Coefficient

MEASURED = ("C1", "C2", "C5", "C6", "C7", "C8")


def summary(
    contrasts: Iterable[Contrast] = (),
    *,
    sockets: Iterable[Sockets] = (),
    memories: Iterable[Memory] = (),
    accounting: Iterable[Accounting] = (),
    capacities: Iterable[Capacity] = (),
) -> Summary:
    return Summary(
        run="made-up",
        profile="quick",
        origin="measured",
        latencies=(),
        contrasts=tuple(contrasts),
        capacities=tuple(capacities),
        costs=(),
        memories=tuple(memories),
        sockets=tuple(sockets),
        accounting=tuple(accounting),
        referee={},
        host={},
        gates={},
        warnings=(),
    )


def contrast(
    arm: str,
    ratio: float,
    *,
    half: float = 0.01,
    rate: float = 1000,
    sleep: float = 0.0,
    metric: str = "mean",
    deployments: int = 5,
) -> Contrast:
    """A contrast whose rounds carry the ratio, with an interval of ± `half` around it."""
    rng = np.random.default_rng([round(rate), len(arm)])
    rounds = [(d, r, ratio * float(np.exp(rng.normal(0, half / 2)))) for d in range(deployments) for r in range(8)]
    verdict, because = stats.verdict(
        stats.Interval(ratio, ratio * (1 - half), ratio * (1 + half)),
        deployments=deployments,
        rounds=len(rounds),
        holm_p=0.001,
        floor=0.0,
    )
    return Contrast(
        scenario="http_visibility",
        load=f"slices-{rate:g}-{sleep:g}",
        rate_per_s=rate,
        service_time_s=sleep,
        arm=arm,
        base="none",
        metric=metric,
        ratio=Estimate(ratio, ratio * (1 - half), ratio * (1 + half)),
        geometric_ratio=Estimate(ratio, ratio * (1 - half), ratio * (1 + half)),
        difference_s=Estimate(1e-5, 0.9e-5, 1.1e-5),
        deployments=deployments,
        rounds=len(rounds),
        wilcoxon_p=0.001,
        holm_p=0.001,
        noise_floor=0.01,
        detectable=0.01,
        verdict=verdict,
        because=because,
        rounds_ratio=tuple(rounds),
    )


def saturated(arm: str, rate: float, metric: str = "mean") -> Contrast:
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    fields = vars(contrast(arm, 1.0, rate=rate, metric=metric)) | {
        "ratio": nothing,
        "difference_s": nothing,
        "rounds": 0,
        "deployments": 0,
        "rounds_ratio": (),
        "verdict": "saturated",
        "because": "it could not keep 3000/s on the ladder",
    }
    return Contrast(**fields)


def proof(arm: str = "ebpf", sent: int = 1000, seen: int = 1000) -> Accounting:
    return Accounting("http_visibility", arm, "agent", sent, seen, 0)


def held(arm: str, observed: float) -> Sockets:
    return Sockets("connections", "hold-c10", arm, arm, 10, {}, observed, 1, 1000.0 * observed, None)


def memory(arm: str, pss: float, *, private: float = 0.4, rss: float = 1.6, places: int = 2) -> Memory:
    each = pss * places
    return Memory("proxies_15k", "cost-300", arm, "datapath", places, each, each * private, each * rss, 0.0, places)


def judged(claim: str, given: Summary) -> Verdict:
    (found,) = [v for v in claims.judge(given) if v.claim == claim]
    return found


def test_every_claim_has_a_verdict_and_an_empty_run_decides_nothing() -> None:
    verdicts = claims.judge(summary())
    assert [v.claim for v in verdicts] == [c.id for c in claims.CLAIMS] == [f"C{n}" for n in range(1, 17)]
    for verdict, claim in zip(verdicts, claims.CLAIMS, strict=True):
        if claim.id in MEASURED:
            assert verdict.word is Word.UNDECIDED
            assert f"mesh-lab run {claim.scenario}" in verdict.because
        else:
            assert verdict.word is Word.NOT_MEASURABLE
            assert not claim.scenario


def test_every_scenario_of_the_ledger_exists() -> None:
    for claim in claims.CLAIMS:
        if claim.scenario:
            assert claim.id in find_question(claim.scenario).claims


def test_c1_holds_where_every_case_is_three_times() -> None:
    found = judged("C1", summary([contrast("sidecar", 3.5), contrast("sidecar", 3.2, metric="p50")]))
    assert found.word is Word.HOLDS
    assert "3.20 to 3.50" in found.because


def test_c1_says_when_it_is_more_than_the_post_says() -> None:
    assert "more than the post" in judged("C1", summary([contrast("sidecar", 6.0)])).because


def test_c1_depends_on_the_service_time() -> None:
    found = judged("C1", summary([contrast("sidecar", 3.5), contrast("sidecar", 1.4, sleep=0.002, rate=200)]))
    assert found.word is Word.HOLDS_IF
    assert any("answers at once" in c and "at least" in c for c in found.conditions)
    assert any("takes 2 ms" in c and "less than" in c and "1.40" in c for c in found.conditions)


def test_c1_fails_below_three_times_everywhere() -> None:
    assert judged("C1", summary([contrast("sidecar", 1.8)])).word is Word.DOES_NOT_HOLD


def test_c1_stays_open_where_the_interval_holds_three() -> None:
    assert judged("C1", summary([contrast("sidecar", 3.0, half=0.1)])).word is Word.UNDECIDED


def test_c1_compares_nothing_above_the_knee() -> None:
    found = judged("C1", summary([contrast("sidecar", 3.5), saturated("sidecar", 5000)]))
    assert found.word is Word.HOLDS
    assert any("5,000/s" in c and "saturates" in c for c in found.conditions)
    assert judged("C1", summary([saturated("sidecar", 5000)])).word is Word.UNDECIDED


@pytest.mark.parametrize(
    ("ratio", "half", "word"),
    [
        (1.01, 0.005, Word.HOLDS),
        (1.03, 0.01, Word.HOLDS),
        (0.5, 0.01, Word.HOLDS),
        (1.2, 0.01, Word.DOES_NOT_HOLD),
        (1.06, 0.03, Word.UNDECIDED),
        (1.0, 0.2, Word.UNDECIDED),
    ],
)
def test_c2_is_decided_at_five_percent(ratio: float, half: float, word: Word) -> None:
    given = summary([contrast("ebpf", ratio, half=half, rate=10_000)], accounting=[proof()])
    assert judged("C2", given).word is word


def test_c2_tells_whether_two_percent_are_shown_too() -> None:
    close = summary([contrast("ebpf", 1.005, half=0.005, rate=10_000)], accounting=[proof()])
    near = summary([contrast("ebpf", 1.03, half=0.005, rate=10_000)], accounting=[proof()])
    assert "and within ±2 %" in judged("C2", close).because
    assert "but not shown within ±2 %" in judged("C2", near).because


@pytest.mark.parametrize("proofs", [(), (proof(seen=999),)])
def test_c2_needs_the_accounting_proof(proofs: Sequence[Accounting]) -> None:
    found = judged("C2", summary([contrast("ebpf", 1.0, rate=10_000)], accounting=proofs))
    assert found.word is Word.UNDECIDED
    assert "not proven" in found.because


def test_c2_is_about_the_posts_rate_only() -> None:
    found = judged("C2", summary([contrast("ebpf", 1.0, rate=5000)], accounting=[proof()]))
    assert found.word is Word.UNDECIDED
    assert "--rate 10000" in found.because
    assert judged("C2", summary([saturated("ebpf", 10_000)])).word is Word.DOES_NOT_HOLD


def test_a_verdict_from_one_deployment_says_so() -> None:
    given = summary([contrast("ebpf", 1.0, rate=10_000, deployments=1)], accounting=[proof()])
    assert judged("C2", given).conditions == ("within 1 deployment only",)


def test_c5_holds_where_one_two_three_are_counted() -> None:
    given = summary(sockets=[held("none", 1), held("ebpf", 1), held("pernode", 2), held("sidecar", 3)])
    found = judged("C5", given)
    assert found.word is Word.HOLDS
    assert any("3.00 times" in c for c in found.conditions)
    assert len(found.evidence) == 4


def test_c5_fails_where_pools_share_connections() -> None:
    found = judged("C5", summary(sockets=[held("ebpf", 1), held("pernode", 2), held("sidecar", 2.1)]))
    assert found.word is Word.DOES_NOT_HOLD
    assert "sidecar has 2.1" in found.because


def test_c5_needs_every_arm() -> None:
    found = judged("C5", summary(sockets=[held("ebpf", 1)]))
    assert found.word is Word.UNDECIDED
    assert "pernode, sidecar" in found.because


def ordered(ebpf: float, pernode: float, sidecar: float, **load: float) -> list[Contrast]:
    return [contrast("ebpf", ebpf, **load), contrast("pernode", pernode, **load), contrast("sidecar", sidecar, **load)]  # type: ignore[arg-type]


def test_c6_compares_arms_directly_at_the_same_rate() -> None:
    found = judged("C6", summary(ordered(1.02, 2.0, 3.0)))
    assert found.word is Word.HOLDS
    assert any("sidecar/pernode" in e and "1.5" in e for e in found.evidence)


def test_c6_fails_in_the_other_order() -> None:
    found = judged("C6", summary(ordered(3.0, 2.0, 1.02)))
    assert found.word is Word.DOES_NOT_HOLD
    assert all("other way round" in c for c in found.conditions)


def test_c6_depends_where_loads_disagree() -> None:
    found = judged("C6", summary([*ordered(1.0, 2.0, 3.0), *ordered(1.0, 3.0, 2.0, rate=2000)]))
    assert found.word is Word.HOLDS_IF
    assert len(found.conditions) == 1


def test_c6_names_what_stays_open() -> None:
    found = judged("C6", summary([*ordered(1.0, 2.0, 3.0), *ordered(1.0, 1.0, 1.0, rate=2000, half=0.2)]))
    assert found.word is Word.HOLDS_IF
    assert all(c.startswith("open:") for c in found.conditions)
    assert judged("C6", summary(ordered(1.0, 1.0, 1.0, half=0.2))).word is Word.UNDECIDED


def test_c6_needs_all_three_below_their_knees() -> None:
    given = [contrast("ebpf", 1.0), contrast("pernode", 2.0), saturated("sidecar", 1000)]
    assert judged("C6", summary(given)).word is Word.UNDECIDED


def test_two_arms_are_compared_by_the_rounds_they_share() -> None:
    one, other = contrast("sidecar", 3.0), contrast("pernode", 2.0)
    found = order.direct(one, other)
    assert found is not None
    assert found.ratio.low <= 1.5 <= found.ratio.high
    assert order.direct(saturated("sidecar", 1000), other) is None


def test_c7_does_the_posts_arithmetic_in_whole_bytes() -> None:
    lines = footprint.arithmetic()
    assert footprint.PROXIES * 70 * 10**6 == 1_050_000_000_000
    assert "15,000 × 70 MB = 1.05 TB (978 GiB)" in lines
    assert "15,000 × 70 MiB = 1.10 TB (1.00 TiB)" in lines
    assert "500 × 70 MB = 35.0 GB (32.6 GiB)" in lines
    assert "500 × 70 MiB = 36.7 GB (34.2 GiB)" in lines  # the post's 34 GB are GiB
    assert lines[-1].startswith("1.5 TB would need 100 MB")


def test_c7_uses_the_footprints_of_the_run() -> None:
    given = summary(memories=[memory("sidecar", 40e6), memory("pernode", 42e6), memory("ebpf", 16e6)])
    found = judged("C7", given)
    assert found.word is Word.DOES_NOT_HOLD
    assert "not 1.5 TB" in found.because
    assert "sidecar, PSS: 15,000 × 40.0 MB (38.1 MiB) = 600 GB (559 GiB)" in found.evidence
    # private 16 MB each, and 64 - 16 MB shared once on each of 500 nodes
    assert any("shared pages once a node: 264 GB" in e for e in found.evidence)


def test_c7_holds_for_proxies_that_are_large_enough() -> None:
    big = summary(
        memories=[memory("sidecar", 100e6, private=1.0, rss=1.0), memory("pernode", 70e6, private=1.0, rss=1.0)]
    )
    assert judged("C7", big).word is Word.HOLDS
    shared = summary(memories=[memory("sidecar", 65e6), memory("pernode", 70e6)])
    assert judged("C7", shared).word is Word.HOLDS_IF


def test_c7_keeps_its_arithmetic_without_measurements() -> None:
    assert judged("C7", summary()).evidence == footprint.arithmetic()


def test_sizes_are_given_decimal_and_binary() -> None:
    assert words.size(0) == "0.00 B (0.00 B)"
    assert words.size(1024) == "1.02 kB (1.00 KiB)"


def test_a_ratio_that_the_statistics_do_not_believe_decides_nothing() -> None:
    doubted = [
        replace(contrast("sidecar", 3.5), verdict="undecided"),
        replace(contrast("ebpf", 1.5, rate=10_000), verdict="undecided"),
    ]
    assert judged("C1", summary(doubted)).word is Word.UNDECIDED
    assert judged("C2", summary(doubted, accounting=[proof()])).word is Word.UNDECIDED


def test_c6_needs_more_than_a_handful_of_rounds() -> None:
    few = [replace(c, rounds_ratio=c.rounds_ratio[:4]) for c in ordered(1.0, 2.0, 3.0, deployments=1)]
    assert judged("C6", summary(few)).word is Word.UNDECIDED


def grown(per_cluster: float, low: float) -> Summary:
    law, study = growth.LAW, growth.STUDY
    values = {"base": (15e6, 14e6), "cluster": (per_cluster, low), "endpoint": (2e3, 1e3 if low > 0 else low)}
    return replace(
        summary(),
        coefficients=tuple(
            Coefficient(study, law, "envoy", "dirty_bytes", term, term, value, least, 2 * value, "bytes", 9, ())
            for term, (value, least) in values.items()
        ),
    )


def test_c8_holds_where_tables_weigh_and_scoping_saves() -> None:
    found = judged("C8", grown(55e3, 50e3))
    assert found.word is Word.HOLDS
    assert "6.7 times" in found.because


def test_c8_is_undecided_where_an_interval_holds_nothing() -> None:
    assert judged("C8", grown(55e3, -1.0)).word is Word.UNDECIDED


def test_c8_does_not_hold_where_tables_weigh_nothing() -> None:
    assert judged("C8", grown(-55e3, -60e3)).word is Word.DOES_NOT_HOLD
