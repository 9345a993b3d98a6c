"""The page of a stored forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab import codec
from lab.report import forecast
from lab.report.frame import Frame
from lab.report.stored import verified
from lab.sim import validation
from lab.sim.answer import Answer, Point

ASKED, ANSWER = "forecast.json", "answer.json"


def question(folder: Path) -> str:
    """What was asked."""
    return str(_asked(verified(folder)).get("asked", {}).get("question", ""))


def render(folder: Path, frame: Frame) -> str:
    """The page as HTML text; `Mistake` where a file is not what was written."""
    stored = verified(folder)
    answer = codec.load(Answer, codec.parse(stored[ANSWER]))
    points = codec.load(tuple[Point, ...], _asked(stored).get("sweep") or [])
    return forecast.render(answer, folder.name, points, _outcome(answer), frame)


def _asked(stored: dict[str, bytes]) -> Any:
    return codec.parse(stored[ASKED]) if ASKED in stored else {}


def _outcome(answer: Answer) -> validation.Outcome | None:
    """How predictions from the shipped calibration came true, for what was answered on the same class of machine."""
    from lab.sim.calibration import SHIPPED, load  # noqa: PLC0415 - half a megabyte, read only here

    if not validation.SHIPPED.is_file() or dict(answer.machine) != dict(load(SHIPPED).machine):
        return None
    return validation.load()
