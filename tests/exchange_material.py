"""Recorded files of other load generators, for the tests of `lab.exchange`."""

from __future__ import annotations

from pathlib import Path

from lab.exchange.audit import Sample, samples
from lab.exchange.given import repetitions
from lab.exchange.read import read
from lab.foreign import Document, Loop, Since, Told

FOLDER = Path(__file__).resolve().parent / "exchange"
FORMAT_OF = {  # every recorded repetition: its files, and the format they are of
    ("fortio.json",): "fortio",
    ("nighthawk.json",): "nighthawk",
    ("wrk.txt",): "wrk",
    ("wrk-latency.txt",): "wrk",
    ("wrk-404.txt",): "wrk",
    ("wrk2.txt",): "wrk2",
    ("wrk2-overload.txt",): "wrk2",
    ("wrk2-short.txt",): "wrk2",
    ("h2load.txt",): "h2load",
    ("h2load.tsv",): "h2load",
    ("h2load.txt", "h2load.tsv"): "h2load",
    ("h2load-rps.txt",): "h2load",
    ("h2load-rps.txt", "h2load-rps.tsv"): "h2load",
    ("h2load-404.txt", "h2load-404.tsv"): "h2load",
    ("locust_stats.csv",): "locust",
    ("locust_stats.csv", "locust_stats_history.csv"): "locust",
}


def documents(*names: str) -> list[Document]:
    return [Document(name, (FOLDER / name).read_bytes()) for name in names]


def told(*names: str) -> Told:
    """What recorded files say."""
    return read(documents(*names), FORMAT_OF[names])[1]


def sample(*names: str, rate: float | None = None) -> Sample:
    """A recorded repetition as the audit sees it."""
    given = repetitions(["+".join(str(FOLDER / n) for n in names)], format=FORMAT_OF[names], stated_per_s=rate)
    return samples(one.imported for one in given)[0]


def flawless(**changes: object) -> Sample:
    """An open loop that says everything and about which no rule on single samples has anything to say."""
    fields: dict[str, object] = {
        "tool": "made up",
        "loop": Loop.OPEN,
        "since": Since.SCHEDULE,
        "requests": 200_000,
        "asked_per_s": 1000.0,
        "achieved_per_s": 1000.0,
        "connections": 10,
        "opened": 10,
        "keep_alive": True,
        "answered": 200_000,
        "errors": 0,
        "errors_timed": 0,
        "held_back": 0,
        "discarded": 0,
        "resolution_s": 1e-6,
        "mean_s": 0.001,
        "most_s": 0.02,
        "quantiles": ((0.5, 0.001), (0.99, 0.005), (0.999, 0.01), (1.0, 0.02)),
        "together": 0.02,
    }
    made = Told(**(fields | changes))  # type: ignore[arg-type]
    return Sample("one", "arm", False, made, "1000/s", made.asked_per_s, 3)
