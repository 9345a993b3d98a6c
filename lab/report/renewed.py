"""Everything that stands in the project's documents and is made from stored data, made anew.

The README names its run. A document in docs/ marks what is made, and from what:

    <!-- made by datapaths.bpf.told:counts from data/ebpf-counts.json -->
    …
    <!-- end of what was made -->

The function is given the JSON data of that file (a path beside the document), or the `Summary` of a results folder.
`python -m lab.report.renewed` writes (`nox -s figures`: that, and the site); a test compares.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from lab import codec
from lab.compile import ROOT
from lab.record import LabError, Mistake
from lab.report import readme
from lab.store import Store

PACKAGES = ("lab", "datapaths")  # whose functions a document may name
MARK = re.compile(
    r"(?P<begin><!-- made by (?P<module>[\w.]+):(?P<function>\w+) from (?P<source>[\w./-]+) -->\n)"
    r".*?(?P<end><!-- end of what was made -->)",
    re.S,
)


def documents(root: Path = ROOT) -> dict[Path, str]:
    """Every file that is made in whole or in part, as it should be."""
    page, figure = readme.rebuilt((root / "README.md").read_text())
    made = {file: renewed(file) for file in sorted((root / "docs").glob("*.md"))}
    return {root / "README.md": page, root / "docs" / "headline.svg": figure, **made}


def renewed(document: Path) -> str:
    """A document's text with every marked part made anew."""
    return MARK.sub(lambda mark: f"{mark['begin']}{_made(document, mark)}\n{mark['end']}", document.read_text())


def _made(document: Path, mark: re.Match[str]) -> str:
    module, name = mark["module"], mark["function"]
    if module.partition(".")[0] not in PACKAGES:
        raise Mistake(f"{document.name} names {module}; allowed are modules of {', '.join(PACKAGES)}")
    function = getattr(importlib.import_module(module), name, None)
    if function is None:
        raise Mistake(f"{document.name} names {module}:{name}, which is not there; mend the mark")
    return str(function(_data(document.parent / mark["source"]))).strip("\n")


def _data(source: Path) -> object:
    return Store.open(source).summary() if source.is_dir() else codec.parse(source.read_bytes())


def main() -> int:
    """Write what has changed and say so; exit code 2 where something cannot be made."""
    try:
        changed = {file: text for file, text in documents().items() if file.read_text() != text}
    except LabError as error:
        sys.stderr.write(f"mesh-lab: {error}\n")
        return 2
    for file, text in changed.items():
        file.write_text(text)
        sys.stdout.write(f"made anew: {file.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
