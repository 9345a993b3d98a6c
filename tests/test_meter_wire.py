from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator

import numpy as np
import pytest

from lab import workload
from lab.cluster import Layout
from lab.cluster.local import LocalCluster
from lab.load import steady
from lab.meter import Meter, Watch, meters
from lab.meter.wire import PACKET, Exchanges, Wire, comparison, exchanges
from lab.record import Block, BlockKind, CannotRun, Failed, Load, Reading, Window

RATE_PER_S, CONNECTIONS = 800.0, 8
LOAD = Load(RATE_PER_S, CONNECTIONS)
OUT, IN = 1, 0


def packets(*rows: tuple[int, int, int]) -> bytes:
    """(time_ns, port, out) of packets with payload."""
    return np.array([(*row, 100) for row in rows], PACKET).tobytes()


def lists(found: Exchanges) -> list[list[int]]:
    return [list(map(int, column)) for column in (found.port, found.sent_ns, found.first_ns, found.last_ns)]


def test_a_request_and_its_answer_are_one_exchange() -> None:
    assert lists(exchanges(packets((10, 5, OUT), (30, 5, IN)))) == [[5], [10], [30], [30]]


def test_a_request_of_many_packets_starts_with_its_first_and_an_answer_ends_with_its_last() -> None:
    found = exchanges(packets((10, 5, OUT), (11, 5, OUT), (30, 5, IN), (35, 5, IN), (40, 5, OUT), (44, 5, IN)))
    assert lists(found) == [[5, 5], [10, 40], [30, 44], [35, 44]]


def test_connections_are_told_apart_and_come_in_the_order_of_sending() -> None:
    found = exchanges(packets((10, 9, OUT), (12, 3, OUT), (20, 3, IN), (50, 9, IN), (60, 3, OUT), (61, 3, IN)))
    assert lists(found) == [[9, 3, 3], [10, 12, 60], [50, 20, 61], [50, 20, 61]]


def test_a_request_without_an_answer_is_unanswered() -> None:
    found = exchanges(packets((10, 3, OUT), (12, 5, OUT), (20, 5, IN)))
    assert list(found.answered) == [False, True]
    assert list(found.service_s) == [8e-9]


def test_an_answer_whose_request_left_before_is_nobodys() -> None:
    assert lists(exchanges(packets((5, 3, IN), (9, 4, IN), (10, 4, OUT), (12, 4, IN)))) == [[4], [10], [12], [12]]


def test_no_packets_are_no_exchanges() -> None:
    assert len(exchanges(b"")) == 0


def test_the_engines_delays_at_both_ends_are_found() -> None:
    sent = np.arange(0, 1_000_000, 10_000)
    kernel = Exchanges(sent % 7, sent + 3000, sent + 50_000, sent + 60_000)
    figures = comparison(kernel, sent, sent + 64_000)
    assert figures["send_delay_p50_s"] == pytest.approx(3e-6)
    assert figures["receive_delay_p99_s"] == pytest.approx(4e-6)
    assert figures["service_p50_engine_minus_kernel_s"] == pytest.approx(7e-6)


def test_clocks_that_saw_different_numbers_are_not_paired() -> None:
    sent = np.arange(0, 100_000, 10_000)
    kernel = Exchanges(sent, sent, sent + 5, sent + 5)
    assert "send_delay_p50_s" not in comparison(kernel, sent[1:], sent[1:] + 9)
    assert comparison(kernel, sent[:0], sent[:0]) == {"requests_engine": 0}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    if os.geteuid():
        pytest.skip("namespaces and cgroups need root")
    for tool in ("nft", "nginx", "clang"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing")
    pods = (workload.client_pod("a", 0), workload.server_pod("a", 1, [LOAD]))
    with LocalCluster("test-wire", state=tmp_path_factory.mktemp("state")) as opened:
        opened.deploy(Layout(pods, (workload.service("a"),)))
        yield opened


def watched(cluster: LocalCluster, kind: BlockKind, wanted: tuple[Meter, ...]) -> tuple[Watch, int]:
    """One window of load with these meters; also how many requests the engine sent in it."""
    window = Window(index=3, round=0, arm="a", start_s=0.2, duration_s=0.5)
    block = Block(str(kind), kind, LOAD, (window,), guard_s=0.2)
    service = cluster.mesh.service(workload.server_name("a"))
    with Watch(block, wanted) as watch:
        name = f"engine-{kind}-{len(cluster.processes)}"
        spec = steady.process(name, service.address, service.port, block, "a", seed=1)
        engine = cluster.run(workload.client_name("a"), "a", spec)
        epoch_ns = time.monotonic_ns() + 50_000_000
        watch.begin(window)
        steady.start(engine, epoch_ns)
        time.sleep(1.0)
        watch.end(window)
        requests = steady.collect(engine, 10).requests
        watch.judge("a", requests, epoch_ns)
    return watch, int(np.count_nonzero(requests["sent_ns"] >= 0))


def value(readings: list[Reading], metric: str) -> float:
    (found,) = [r.value for r in readings if r.metric == metric and r.meter == "wire"]
    return found


def test_the_kernel_sees_exactly_the_requests_that_the_engine_sent(cluster: LocalCluster) -> None:
    watch, sent = watched(cluster, BlockKind.REFEREE, meters(BlockKind.REFEREE, cluster))
    if "wire" in watch.missing:
        pytest.skip(watch.missing["wire"])
    assert sent > 0
    assert value(watch.readings, "requests") == value(watch.readings, "requests_engine") == sent
    assert value(watch.readings, "unanswered") == 0
    # a packet leaves after the engine's first clock and comes back before its second: the clocks are the same clock
    assert value(watch.readings, "send_delay_p50_s") >= 0
    assert value(watch.readings, "receive_delay_p50_s") >= 0
    assert value(watch.readings, "service_p50_engine_minus_kernel_s") >= 0


def test_the_referee_lets_go_of_the_cgroup(cluster: LocalCluster) -> None:
    meter = Wire(cluster)
    watch, _ = watched(cluster, BlockKind.REFEREE, (meter,))
    if watch.missing:
        pytest.skip(watch.missing["wire"])
    assert meter.clock is None
    with pytest.raises(Failed, match="not running"):
        meter.end(Window(0, 0, "a", 0.0, 1.0))


@pytest.mark.parametrize("kind", [BlockKind.LADDER, BlockKind.SLICES, BlockKind.COST, BlockKind.HOLD])
def test_every_kind_of_block_has_its_meters(cluster: LocalCluster, kind: BlockKind) -> None:
    watch, _ = watched(cluster, kind, meters(kind, cluster))
    seen = {r.meter for r in watch.readings}
    expected = {
        BlockKind.LADDER: {"cpu", "host"},
        BlockKind.SLICES: set(),
        BlockKind.COST: {"cpu", "host", "connections", "memory"},  # nobody holds BPF programs here
        BlockKind.HOLD: {"cpu", "host", "connections", "memory", "openings"},
    }
    assert seen == expected[kind] - set(watch.missing)
    assert {r.block for r in watch.readings} <= {str(kind)}
    if kind is BlockKind.HOLD and "openings" in seen:
        assert [r.value for r in watch.readings if (r.metric, r.subject) == ("opened", "path")] == [CONNECTIONS]


def test_a_meter_that_this_machine_lacks_is_named_and_the_others_go_on() -> None:
    class Lacking(Meter):
        name = "lacking"

        def open(self, block: Block) -> None:
            raise CannotRun("no such kernel")

    class Seeing(Meter):
        name = "seeing"

        def close(self) -> tuple[Reading, ...]:
            return (self.reading("a", -1, "host", "all", "things", 1),)

    with Watch(Block("b", BlockKind.COST, LOAD, ()), [Lacking(), Seeing()]) as watch:
        pass
    assert watch.missing == {"lacking": "no such kernel"}
    assert [r.metric for r in watch.readings] == ["things"]


def test_meters_are_closed_even_when_one_of_them_fails() -> None:
    closed = []

    class Failing(Meter):
        def close(self) -> tuple[Reading, ...]:
            closed.append(self)
            raise Failed("broken")

    with pytest.raises(Failed, match="broken"), Watch(Block("b", BlockKind.COST, LOAD, ()), [Failing(), Failing()]):
        pass
    assert len(closed) == 2
