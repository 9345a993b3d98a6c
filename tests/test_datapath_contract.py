"""What every file in `datapaths/` must do, driven through one real trial each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import datapath, doctor
from lab.cluster.local import LocalCluster
from lab.record import Arm, Block, BlockKind, Feature, Load, Mistake, Need, Placement, Trial, Window
from lab.trial import Measured, measure

SECONDS = 0.5


@pytest.fixture(scope="module")
def there() -> frozenset[Need]:
    return frozenset(p.need for p in doctor.examine().probes if p.there)


def trial(name: str) -> Trial:
    load = Load(rate_per_s=200, connections=4)
    windows = (Window(0, 0, name, 0.0, SECONDS),)
    blocks = tuple(Block(str(k), k, load, windows, guard_s=0.2) for k in (BlockKind.HOLD, BlockKind.COST))
    return Trial(f"contract-{name}", "contract", 1, 1, (Arm(name, name),), (0,), Placement.TWO_NODES, blocks)


@pytest.fixture(scope="module", params=datapath.names())
def measured(
    request: pytest.FixtureRequest, there: frozenset[Need], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Measured]:
    lacks = (doctor.ALWAYS | datapath.find(request.param).needs) - there
    if lacks:
        pytest.skip(f"{request.param} lacks {', '.join(sorted(lacks))}")
    with LocalCluster(f"contract-{os.getpid()}", state=tmp_path_factory.mktemp("state")) as cluster:
        yield measure(trial(request.param), cluster, lambda _: None)


def test_it_answers_every_request(measured: Measured) -> None:
    (run,) = measured.runs
    wrong = [f for f in run.findings if f.gate in {"errors", "connections"} and not f.passed]
    assert not wrong


def test_its_own_count_equals_the_requests_sent(measured: Measured) -> None:
    (run,) = measured.runs
    proofs = [f for f in run.findings if f.gate == "accounting"]
    assert all(f.passed for f in proofs), proofs
    assert len(proofs) >= (Feature.HTTP_METRICS in run.features)


def test_it_makes_as_many_connections_as_it_says(measured: Measured) -> None:
    (run,) = measured.runs
    formula = [f for f in run.findings if f.gate == "sockets"]
    assert formula, "no sockets were counted"
    assert all(f.passed for f in formula), formula


def test_it_leaves_its_rendered_configuration_with_the_results(measured: Measured) -> None:
    assert any(name.startswith("config/") for name in measured.files)


def test_a_typo_is_answered_with_what_there_is() -> None:
    with pytest.raises(Mistake, match=r"no datapath 'ebfp'; there are cilium, ebpf, .*none"):
        datapath.find("ebfp")
