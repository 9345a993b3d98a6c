"""The parser and llhttp agree on the corpus that fuzzing has made."""

from __future__ import annotations

import subprocess

import pytest

from datapaths.bpf import fuzz
from lab.record import CannotRun


def test_the_parser_and_llhttp_agree_on_the_corpus() -> None:
    try:
        program = fuzz.built(fuzzer=False)
    except CannotRun as error:
        pytest.skip(str(error))
    files = sorted(fuzz.CORPUS.iterdir())
    assert len(files) >= 100
    done = subprocess.run([program, *files], capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(len(files))]
