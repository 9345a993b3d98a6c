"""Who decided when to send, and from when times run."""

from __future__ import annotations

from lab.exchange.audit.rule import Rule, Said, per_s, time
from lab.exchange.audit.sample import Sample
from lab.foreign import Loop, Severity, Since

SCHROEDER = "https://www.usenix.org/legacy/event/nsdi06/tech/schroeder.html"
TENE = "https://github.com/giltene/wrk2#acknowledgements"
FAR = 10  # times the mean cycle of a closed loop: a wait that cannot be an ordinary one
MUCH = 2.0  # times: the tool's two counts tell different stories
TAILS = ((0.5, "p50"), (0.99, "p99"))


def closed_loop(sample: Sample) -> Said:
    """Each connection asks again only when it was answered."""
    if sample.told.loop is not Loop.CLOSED:
        return None
    return (
        "the next request waits for the answer to the one before, so a slow server is asked less often and its times "
        "are a queue of the generator's own making: they are those of no rate",
        ("loop = closed", *_connections(sample)),
    )


def loop_unknown(sample: Sample) -> Said:
    """The file does not tell whether a rate was kept."""
    told = sample.told
    if told.loop is not Loop.UNKNOWN or sample.asked_per_s is not None:
        return None
    return (
        f"{told.tool} does not tell whether it kept a rate; without one the loop is closed and the times are those of "
        "no rate",
        ("loop = unknown", *_connections(sample)),
    )


def coordinated_omission(sample: Sample) -> Said:
    """A connection that waits for its answer sends nothing, and nobody counts the requests that were due meanwhile."""
    told, interval_s = sample.told, sample.interval_s
    if told.since is not Since.SEND or told.loop is Loop.OPEN or told.most_s is None or interval_s is None:
        return None
    paced = sample.asked_per_s is not None
    if told.most_s <= interval_s * (1 if paced else FAR):
        return None
    missed = int(told.most_s / interval_s)
    rate = sample.asked_per_s or told.achieved_per_s or 0.0
    return (
        f"during its longest answer one connection sent nothing while about {missed:,} requests of its "
        f"{'rate' if paced else 'usual pace'} were due; their waits are missing from every quantile",
        (
            f"longest answer = {time(told.most_s)}",
            f"send interval = {told.connections} connections / {per_s(rate)} = {time(interval_s)}",
            "times run from the send",
        ),
    )


def late_starts(sample: Sample) -> Said:
    """The tool's own times from its schedule are far above its times from the send."""
    told, plain = sample.told, dict(sample.told.uncorrected)
    pairs = [(word, told.quantile(share), plain.get(share, _at(told.uncorrected, share))) for share, word in TAILS]
    far = [(w, a, b) for w, a, b in pairs if a is not None and b and a > MUCH * b]
    if not far:
        return None
    return (
        "requests left later than their schedule: what is shown is the generator's own timers or a line before busy "
        "connections as much as the server",
        tuple(f"{word} from schedule = {time(a)}, from the send = {time(b)}" for word, a, b in far),
    )


def _at(quantiles: tuple[tuple[float, float], ...], share: float) -> float | None:
    """The first quantile at or above a share."""
    return next((value for told, value in quantiles if told >= share - 1e-9), None)


def _connections(sample: Sample) -> tuple[str, ...]:
    count = sample.told.connections
    return (f"connections = {count}",) if count is not None else ()


RULES = (
    Rule("closed_loop", Severity.SERIOUS, SCHROEDER, closed_loop),
    Rule("coordinated_omission", Severity.SERIOUS, TENE, coordinated_omission),
    Rule("loop_unknown", Severity.LIMIT, SCHROEDER, loop_unknown),
    Rule("late_starts", Severity.LIMIT, TENE, late_starts),
)
