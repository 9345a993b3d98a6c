"""Numbers that stand for names in the kernel's keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class Names:
    """Gives each name a number of its own, from `first` up, and never another name the same.

    With pins the numbers hold for agents to come as well: each is a symbolic link there, `<kind>-<number>@note`.
    """

    def __init__(self, kind: str, first: int, pins: Path | None = None) -> None:
        self._kind, self._pins = kind, pins
        notes = pins.glob(f"{kind}-*@note") if pins is not None else ()
        self._names = {int(note.name[len(kind) + 1 : -len("@note")]): str(note.readlink()) for note in notes}
        self._numbers = {name: number for number, name in self._names.items()}
        self._next = max(self._names, default=first - 1) + 1

    def numbers(self, names: Iterable[str]) -> dict[str, int]:
        """The numbers of names, new ones for those not seen before."""
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name not in self._numbers:
                self._note(self._next, name)
                self._next += 1
        return {name: self._numbers[name] for name in wanted}

    def name(self, number: int) -> str | None:
        """The name behind a number."""
        return self._names.get(number)

    def _note(self, number: int, name: str) -> None:
        if self._pins is not None:
            (self._pins / f"{self._kind}-{number}@note").symlink_to(name)
        self._names[number], self._numbers[name] = name, number
