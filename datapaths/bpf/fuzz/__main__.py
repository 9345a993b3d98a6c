"""`python -m datapaths.bpf.fuzz [--seconds N]`: fuzz the parser against llhttp for a bounded time."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from datapaths.bpf.fuzz import CORPUS, HERE, built
from lab.record import LabError


def main() -> int:
    """0 and one line of JSON when they agreed all the time; 1 and what they disagreed on."""
    parser = argparse.ArgumentParser(prog="python -m datapaths.bpf.fuzz", description=(__doc__ or "").split("`: ")[1])
    parser.add_argument("--seconds", type=int, default=60, help="for how long (default: 60)")
    parser.add_argument("--keep", type=Path, help="put the inputs that found something new in this folder")
    asked = parser.parse_args()
    try:
        program = built(fuzzer=True)
    except LabError as error:
        print(f"fuzz: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        return _run(program, Path(folder), asked.seconds, asked.keep)


def _run(program: Path, folder: Path, seconds: int, keep: Path | None) -> int:
    work = shutil.copytree(CORPUS, folder / "work")
    options = (f"-max_total_time={seconds}", "-max_len=2000", "-timeout=5", f"-dict={HERE / 'words.dict'}")
    command = [str(program), *options, "-print_final_stats=1", f"-artifact_prefix={folder}/", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        found = [f"{file.name}: {file.read_bytes()!r}" for file in folder.glob("*-*") if file.is_file()]
        print("\n".join([*done.stderr.splitlines()[-40:], *found]), file=sys.stderr)
        return 1
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    print(json.dumps({"seconds": seconds, "inputs": int(executed[1]) if executed else None, "disagreements": 0}))
    if keep:
        shutil.copytree(work, keep, dirs_exist_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
