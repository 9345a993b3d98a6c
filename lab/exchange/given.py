"""Names of files become repetitions: what belongs to one run of a tool is read together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.codec import sha256
from lab.exchange.read import AUTO, read
from lab.exchange.read.text import LARGEST_BYTES
from lab.foreign import BASE, Document, Imported, Original
from lab.record import Mistake

JOIN = "+"
LOCUST, ITS_HISTORY = "_stats.csv", "_stats_history.csv"  # by these endings Locust's --csv names what belongs together
ARM = "imported"
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
LONGEST = 40


@dataclass(frozen=True)
class Repetition:
    """One imported repetition with the files it was read from."""

    imported: Imported
    documents: tuple[Document, ...]


def repetitions(
    files: Sequence[str],
    baseline: Sequence[str] = (),
    *,
    format: str = AUTO,
    arm: str = ARM,
    stated_per_s: float | None = None,
) -> tuple[Repetition, ...]:
    """Each of `files` is a repetition of `arm`, each of `baseline` one without it; files of one run are joined by `+`.

    `Mistake` for a name that no arm can have, a file that is not there or cannot be read, a rate that is none.
    """
    if not arm or len(arm) > LONGEST or not set(arm) <= LETTERS or arm == BASE:
        raise Mistake(f"--arm {arm!r}; allowed are 1 to {LONGEST} of a-z, 0-9, _ and -, but not {BASE!r}")
    if stated_per_s is not None and not 0 < stated_per_s < float("inf"):
        raise Mistake(f"--rate {stated_per_s}; it must be a finite number above 0, in requests/s")
    sides = ((BASE, baseline), (arm, files))
    return tuple(
        _repetition(name, number, group, format, stated_per_s)
        for name, given in sides
        for number, group in enumerate(groups(given), 1)
    )


def groups(files: Sequence[str]) -> tuple[tuple[Path, ...], ...]:
    """Paths of the files of each repetition; Locust's history is put to the statistics of the same name."""
    split = [(Path(name),) if Path(name).exists() else tuple(map(Path, name.split(JOIN))) for name in files]
    alone = {group[0] for group in split if len(group) == 1}
    histories = {_statistics(path): path for path in alone if path.name.endswith(ITS_HISTORY)}
    joined = [(*g, histories[g[0]]) if len(g) == 1 and g[0] in histories else g for g in split]
    taken = {histories[path] for path in alone if path in histories}
    return tuple(group for group in joined if not (len(group) == 1 and group[0] in taken))


def _statistics(history: Path) -> Path:
    return history.with_name(history.name.removesuffix(ITS_HISTORY) + LOCUST)


def _repetition(arm: str, number: int, paths: Sequence[Path], format: str, stated_per_s: float | None) -> Repetition:
    documents = tuple(map(_document, paths))
    known, told = read(documents, format)
    if stated_per_s is not None and told.asked_per_s is not None:
        raise Mistake(
            f"{documents[0].name} says that {told.asked_per_s:g}/s were asked for; leave out --rate {stated_per_s:g}"
        )
    original = Original(
        name=f"{arm}-{number}",
        arm=arm,
        base=arm == BASE,
        repeat=number,
        format=known,
        files=tuple((d.name, sha256(d.raw), len(d.raw)) for d in documents),
        stated_per_s=stated_per_s,
    )
    return Repetition(Imported(original, told), documents)


def _document(path: Path) -> Document:
    try:
        if not path.is_file():
            raise Mistake(f"no file {path}; name one that a load generator has written (two of one run: a.txt+a.tsv)")
        if not path.name.isprintable():
            raise Mistake(f"file {path.name!r} has a name that cannot be printed; rename it")
        if path.stat().st_size > LARGEST_BYTES:
            raise Mistake(f"{path} has {path.stat().st_size:,} bytes; allowed are {LARGEST_BYTES:,}: cut it shorter")
        return Document(path.name, path.read_bytes())
    except OSError as wrong:
        raise Mistake(f"{path} cannot be read: {wrong.strerror}") from None
