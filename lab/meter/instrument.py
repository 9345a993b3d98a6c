"""An instrument: a process of its own that holds a BPF program and answers each question with one line of JSON.

It is a process of its own because bcc brings LLVM (133 MB) with it. It ends when its standard input does, so it cannot
outlive the lab.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from lab.compile import ROOT
from lab.record import CannotRun, Failed


class Instrument:
    """A running `python -m <module> <arguments>`, ready to be asked. A context manager: leaving it ends the process."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.module = module
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `stop`
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # a Ctrl-C at the terminal is the lab's to handle, not its
        )
        try:
            self._answer()
        except Failed as error:
            words = self._last_words()
            self.stop()
            raise CannotRun(f"{module} did not start: {words or error}") from error

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def ask(self, question: str) -> Any:
        """The answer to a question, decoded from JSON; `Failed` with its last words when there is none."""
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe above
        try:
            self._process.stdin.write(question + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:  # broken pipe; or closed by `stop`
            raise Failed(f"{self.module} has ended: {self._last_words()}") from error
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe above
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"{self.module} has ended: {self._last_words()}")
        return json.loads(line)

    def _last_words(self) -> str:
        """The last line it wrote to standard error."""
        if self._words.closed:
            return ""
        self._words.seek(0)
        return (self._words.read().strip().splitlines() or [""])[-1]

    def stop(self) -> None:
        """End it, by the end of its input; by SIGKILL when that does not do within 5 s. Idempotent."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.close()

    def __enter__(self) -> Instrument:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(answers: Mapping[str, Callable[[str], object]]) -> None:
    """The instrument's own side: say that it is ready, then answer each line `word argument` until the input ends."""
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        word, _, argument = line.strip().partition(" ")
        print(json.dumps(answers[word](argument)), flush=True)
