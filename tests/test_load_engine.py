import resource
import shutil
import signal
import time

import numpy as np
import numpy.typing as npt
import pytest
from load_faults import OK, Exchange, FaultServer, after_warmups, serving, well

from lab.load.engine import SPARE_FILES, Engine, Target, allow_files, offer
from lab.load.report import EngineReport
from lab.record import OUTCOMES, CannotRun, Failed, Mistake, Outcome

MS = 1_000_000

pytestmark = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is missing (apt-get install clang)")


def every(gap_ms: float, count: int) -> npt.NDArray[np.int64]:
    return (np.arange(count) * gap_ms * MS).astype(np.int64)


def target(server: FaultServer, connections: int = 4, timeout_s: float = 2.0, spin: bool = False) -> Target:
    return Target("127.0.0.1", server.port, "/bytes/2", connections, timeout_s, spin)


def ends(report: EngineReport) -> list[Outcome]:
    return [OUTCOMES[i] for i in report.requests["outcome"]]


def sound(report: EngineReport, count: int) -> None:
    """What holds of every report, however badly the server behaved."""
    rows, total = report.requests, sum(report.outcomes().values())
    sent = rows["sent_ns"] >= 0
    ok = rows["outcome"] == OUTCOMES.index(Outcome.OK)
    assert len(rows) == total == count
    assert report.on_wire == report.warmups + sent.sum()
    assert np.all(rows["sent_ns"][sent] >= rows["scheduled_ns"][sent])
    assert np.all(rows["done_ns"][~ok] == -1)
    assert np.all(rows["first_byte_ns"][ok] >= rows["sent_ns"][ok])
    assert np.all(rows["done_ns"][ok] >= rows["first_byte_ns"][ok])
    assert np.all(rows["status"][ok] >= 200)
    assert np.all(rows["connection"][sent] >= 0)


@pytest.mark.parametrize("spin", [False, True])
def test_every_request_is_answered_once_on_connections_that_stay(spin: bool) -> None:
    with serving(well) as server:
        report = offer(target(server, connections=10, spin=spin), every(1, 300))
        assert server.requests == 310
    sound(report, 300)
    assert ends(report) == [Outcome.OK] * 300
    assert (report.warmups, report.on_wire, report.connects, report.reconnects) == (10, 310, 10, 0)
    assert np.all(report.requests["status"] == 200)
    assert report.bytes_received == 310 * len(OK)


def test_free_connections_take_turns() -> None:
    with serving(well) as server:
        report = offer(target(server, connections=5), every(10, 50))
        assert server.of_connection == [11] * 5
    used = np.bincount(report.requests["connection"])
    assert used.tolist() == [10] * 5


ANSWERS = {
    "length": (OK, 200),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
    "no reason": (b"HTTP/1.1 404\r\ncontent-length:2\r\n\r\nno", 404),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", 304),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n1a\r\n"
        + b"z" * 26
        + b"\r\n0\r\nT: 1\r\n\r\n",
        200,
    ),
    "1xx first": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, 200),
    "long header": (b"HTTP/1.1 200 OK\r\nCookie: " + b"c" * 9_000 + b"\r\nContent-Length: 1\r\n\r\nx", 200),
    "bare newlines": (b"HTTP/1.1 500 Oh\nContent-Length: 1\n\nx", 500),
    "long body": (b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"b" * 300_000, 200),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_framing_is_understood(name: str) -> None:
    answer, status = ANSWERS[name]

    def say(exchange: Exchange) -> None:
        exchange.say(answer)

    with serving(after_warmups(2, say)) as server:
        report = offer(target(server, connections=2), every(5, 10))
    sound(report, 10)
    assert ends(report) == [Outcome.OK] * 10
    assert report.requests["status"].tolist() == [status] * 10
    assert report.reconnects == 0


@pytest.mark.parametrize("name", ["length", "chunked", "1xx first"])
def test_an_answer_may_come_byte_by_byte(name: str) -> None:
    answer, status = ANSWERS[name]

    def drip(exchange: Exchange) -> None:
        for i in range(len(answer)):
            exchange.say(answer[i : i + 1])
            exchange.pause(0.0005)

    with serving(after_warmups(2, drip)) as server:
        report = offer(target(server, connections=2), every(1, 2))
    sound(report, 2)
    assert report.requests["status"].tolist() == [status] * 2
    assert np.all(report.requests["done_ns"] > report.requests["first_byte_ns"])


BAD = {
    "garbage": b"\x00\xff not http at all\r\n\r\n",
    "old version": b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status": b"HTTP/1.1 2x0 OK\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "no colon": b"HTTP/1.1 200 OK\r\nContent-Length 1\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "chunk end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhello\r\n0\r\n\r\n",
    "coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "too much": OK + b"!",
    "two answers": OK + OK,
}


@pytest.mark.parametrize("name", BAD)
def test_an_answer_that_is_not_http_is_malformed_and_its_connection_replaced(name: str) -> None:
    def say(exchange: Exchange) -> None:
        (exchange.say(BAD[name]) if exchange.number == 3 else well(exchange))

    with serving(say) as server:
        report = offer(target(server, connections=2), every(10, 6))
    sound(report, 6)
    assert report.outcomes()[Outcome.MALFORMED] == 1
    assert report.outcomes()[Outcome.OK] == 5
    assert report.reconnects == 1


def test_connection_close_is_obeyed_and_counted() -> None:
    def say(exchange: Exchange) -> None:
        exchange.say(b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nhi")
        exchange.hang_up()

    with serving(after_warmups(2, say)) as server:
        report = offer(target(server, connections=2), every(10, 10))
    sound(report, 10)
    assert ends(report) == [Outcome.OK] * 10
    assert report.reconnects == 10


def test_an_answer_may_end_with_its_connection() -> None:
    def say(exchange: Exchange) -> None:
        exchange.say(b"HTTP/1.1 200 OK\r\n\r\neverything until the end")
        exchange.hang_up()

    with serving(after_warmups(2, say)) as server:
        report = offer(target(server, connections=2), every(10, 4))
    sound(report, 4)
    assert ends(report) == [Outcome.OK] * 4
    assert report.reconnects == 4


@pytest.mark.parametrize("way", ["reset", "hang_up"])
@pytest.mark.parametrize("first", [b"", OK[:-1]])
def test_a_connection_that_ends_before_the_answer_is_a_reset(way: str, first: bytes) -> None:
    def say(exchange: Exchange) -> None:
        if exchange.number % 2:
            well(exchange)
            return
        exchange.say(first)
        getattr(exchange, way)()

    with serving(after_warmups(2, say)) as server:
        report = offer(target(server, connections=2), every(10, 10))
    sound(report, 10)
    assert report.outcomes()[Outcome.RESET] == 5
    assert report.outcomes()[Outcome.OK] == 5
    assert report.reconnects == 5


def test_a_request_times_out_and_its_connection_is_replaced() -> None:
    def never(exchange: Exchange) -> None:
        (exchange.pause(30) if exchange.number == 2 else well(exchange))

    with serving(never) as server:
        report = offer(target(server, connections=2, timeout_s=0.1), every(20, 20))
    sound(report, 20)
    assert ends(report) == [Outcome.TIMEOUT] + [Outcome.OK] * 19
    assert report.reconnects == 1
    assert report.requests["sent_ns"][0] >= 0


def test_half_an_answer_times_out_too() -> None:
    def half(exchange: Exchange) -> None:
        exchange.say(OK[:10])
        exchange.pause(30)

    with serving(after_warmups(2, half)) as server:
        report = offer(target(server, connections=2, timeout_s=0.1), every(1, 2))
    sound(report, 2)
    assert ends(report) == [Outcome.TIMEOUT] * 2
    assert np.all(report.requests["first_byte_ns"] >= 0)


def test_a_server_that_is_gone_refuses() -> None:
    def leave(exchange: Exchange) -> None:
        exchange.server.stop_listening()
        exchange.reset()

    with serving(after_warmups(1, leave)) as server:
        report = offer(target(server, connections=1), every(50, 5))
    sound(report, 5)
    assert ends(report) == [Outcome.RESET] + [Outcome.REFUSED] * 4
    assert report.on_wire == 2
    assert report.connects == 1


def test_an_idle_connection_closed_by_the_server_is_opened_again_before_it_is_needed() -> None:
    def brief(exchange: Exchange) -> None:
        well(exchange)
        if exchange.number == 0:
            exchange.pause(0.05)
            exchange.hang_up()

    with serving(brief) as server:
        report = offer(target(server, connections=2), every(200, 3))
    sound(report, 3)
    assert ends(report) == [Outcome.OK] * 3
    assert (report.connects, report.reconnects) == (3, 1)


def test_a_server_that_hangs_up_on_newcomers_is_not_dialled_without_end() -> None:
    def last(exchange: Exchange) -> None:
        well(exchange)
        exchange.hang_up()

    with serving(after_warmups(2, last), welcome=lambda connection: connection < 2) as server:
        report = offer(target(server, connections=2), every(100, 6))
        assert server.connections <= 2 + 2 + 2 * 6  # each request dials once, and once more when it was reset
    sound(report, 6)
    assert report.outcomes()[Outcome.OK] >= 2


def test_late_requests_are_sent_late_and_seen_as_lag() -> None:
    def slow(exchange: Exchange) -> None:
        exchange.pause(0.05)
        well(exchange)

    with serving(after_warmups(1, slow)) as server:
        report = offer(target(server, connections=1), every(10, 10))
    sound(report, 10)
    rows = report.requests
    assert ends(report) == [Outcome.OK] * 10
    assert np.all(rows["sent_ns"][1:] >= rows["done_ns"][:-1])  # in line for the only connection
    lag = rows["sent_ns"] - rows["scheduled_ns"]
    assert lag[9] > 9 * 40 * MS - 1
    assert report.lag_s(1.0)[0] == lag.max() / 1e9


def test_nothing_is_sent_after_its_window_was_given_up() -> None:
    def slow(exchange: Exchange) -> None:
        exchange.pause(0.1)
        well(exchange)

    with serving(after_warmups(1, slow)) as server:
        report = offer(target(server, connections=1), every(10, 10), give_up_ns=150 * MS)
        assert server.requests == report.on_wire
    sound(report, 10)
    outcomes = report.outcomes()
    assert outcomes[Outcome.OK] + outcomes[Outcome.NOT_SENT] == 10
    assert 1 <= outcomes[Outcome.OK] <= 2
    assert np.all(report.requests["sent_ns"] <= 150 * MS)


def test_a_block_that_began_in_the_past_sends_only_what_is_not_given_up() -> None:
    with serving(well) as server:
        report = offer(
            target(server), every(10, 80), give_up_ns=every(10, 80) + 50 * MS, epoch_ns=time.monotonic_ns() - 120 * MS
        )
    sound(report, 80)
    assert report.outcomes()[Outcome.NOT_SENT] >= 7
    assert report.outcomes()[Outcome.OK] >= 1


def test_a_thousand_connections_are_opened_warmed_and_used() -> None:
    with serving(well) as server:
        report = offer(target(server, connections=1_200, timeout_s=10), every(0.5, 2_400))
        assert server.connections == 1_200
        assert server.requests == 3_600
    sound(report, 2_400)
    assert ends(report) == [Outcome.OK] * 2_400
    assert (report.connects, report.reconnects, report.warmups) == (1_200, 0, 1_200)


def test_interrupts_lose_nothing() -> None:
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1

    before = signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    try:
        with serving(well) as server:
            report = offer(target(server), every(2, 200))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    sound(report, 200)
    assert ends(report) == [Outcome.OK] * 200
    assert seen > 20


@pytest.mark.parametrize("spin", [False, True])
def test_an_interrupt_from_the_keyboard_ends_it(spin: bool) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with serving(well) as server, pytest.raises(KeyboardInterrupt):
            offer(target(server, spin=spin), every(100, 300))
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_warm_up_that_is_refused_says_so() -> None:
    with serving(well) as server:
        port = server.port
    with pytest.raises(Failed, match=rf"127\.0\.0\.1:{port}/bytes/2 failed: refused \(Connection refused\)"):
        offer(Target("127.0.0.1", port, "/bytes/2", 3, 1.0), every(1, 1))


def test_a_warm_up_that_answers_an_error_says_so() -> None:
    def sorry(exchange: Exchange) -> None:
        exchange.say(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    with serving(sorry) as server, pytest.raises(Failed, match="status 503"):
        offer(target(server), every(1, 1))


def test_a_warm_up_that_is_not_answered_says_so() -> None:
    def never(exchange: Exchange) -> None:
        exchange.pause(30)

    with serving(never) as server, pytest.raises(Failed, match="timeout"):
        offer(target(server, timeout_s=0.2), every(1, 1))


def test_a_name_is_not_an_address() -> None:
    with pytest.raises(Mistake, match="address='localhost'"):
        offer(Target("localhost", 80, "/", 1, 1.0), every(1, 1))


def test_a_schedule_must_rise() -> None:
    with pytest.raises(Mistake, match="sorted"):
        Engine(Target("127.0.0.1", 80, "/", 1, 1.0), every(1, 3)[::-1], np.zeros(3, np.int32), np.zeros(3, np.int64))


def test_more_files_than_the_hard_limit_cannot_be_opened() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this machine has no hard limit of open files")
    with pytest.raises(CannotRun, match="hard limit"):
        allow_files(hard + 1 + SPARE_FILES)
