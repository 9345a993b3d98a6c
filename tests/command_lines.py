"""Command lines of the lab in documents and workflows, held to its own parser: words that it would refuse are found."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import typer

from lab.cli import app

_START = re.compile(r"^(?:\./|\.venv/bin/)?mesh-lab$")
_ASSIGNED = re.compile(r"^[A-Z_]+=")


def lines(text: str) -> Iterator[list[str]]:
    """The words after `mesh-lab` of every line of a shell script that calls it; comments and variables left out."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and (_ASSIGNED.match(words[0]) or words[0] == "sudo"):
            words = words[1:]
        if words and _START.match(words[0]):
            yield words[1:]


def blocks(page: str) -> str:
    """All fenced blocks of a Markdown page."""
    return "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", page, re.DOTALL | re.MULTILINE))


def refused(words: list[str]) -> str:
    """Why the parser does not take them; empty: it does. Nothing is run."""
    known: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    if not words or words[0] not in known:
        return f"no command {words[:1]}; there are {', '.join(sorted(known))}"
    try:
        known[words[0]].make_context(words[0], list(words[1:]))
    except Exception as error:  # noqa: BLE001 - typer brings a click of its own, with errors of its own
        return f"{' '.join(words)}: {getattr(error, 'message', error)}"
    return ""
