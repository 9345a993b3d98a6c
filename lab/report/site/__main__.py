"""`python -m lab.report.site [--results FOLDER] [--out FOLDER]`: build the site."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.compile import ROOT
from lab.record import LabError
from lab.report.site import build


def main() -> int:
    """Exit code 2 with one line where it cannot be built."""
    parser = argparse.ArgumentParser(prog="python -m lab.report.site", description="Build the published site.")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="folder to make")
    given = parser.parse_args()
    try:
        sys.stdout.write(f"{build(given.results, given.out)}\n")
    except LabError as error:
        sys.stderr.write(f"mesh-lab: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
