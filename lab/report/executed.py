"""An executed notebook as a page that is a file of its own: to read it, no Jupyter is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from markupsafe import Markup

from lab.report.frame import environment
from lab.report.site.prose import prose

STYLE = re.compile(r"<style scoped>.*?</style>\s*", re.S)  # of a frame: the page has its own
HEADING, EMPTY = re.compile(r"(?<=<th)(?=[ >])"), re.compile(r"<th( [^>]*)?></th>")
BARE = re.compile(r' (?:border|class|style)="[^"]*"')


def page(notebook: Mapping[str, Any], name: str) -> str:
    """Every cell with what it printed, drew and showed, as HTML text. `notebook` is one that this machine executed."""
    cells = list(notebook["cells"])
    title = prose(str(cells[0]["source"]), name, {}, "").title
    parts = [Markup(part) for number, cell in enumerate(cells) for part in _cell(cell, number)]  # noqa: S704 - escaped
    return environment().get_template("executed.html.j2").render(title=title, name=name, parts=parts)


def _cell(cell: Mapping[str, Any], number: int) -> Iterator[str]:
    if cell["cell_type"] == "markdown":
        yield str(prose(str(cell["source"]), "", {}, "").html)
        return
    yield f'<pre tabindex="0"><code>{escape(str(cell["source"]))}</code></pre>'
    for output in cell.get("outputs", ()):
        yield _output(output, f"Table of cell {number}")


def _output(output: Mapping[str, Any], name: str) -> str:
    """The best that there is of one output: picture, table, words."""
    data = output.get("data", {})
    if "image/png" in data:
        return _picture(str(data["image/png"]), output.get("metadata", {}).get("image/png", {}))
    if "text/html" in data and "<table" in data["text/html"]:
        return f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">{_table(data["text/html"])}</div>'
    return f'<pre class="said" tabindex="0">{escape(str(data.get("text/plain", output.get("text", ""))))}</pre>'


def _picture(raw: str, told: Mapping[str, Any]) -> str:
    size = "".join(f' {side}="{told[side]}"' for side in ("width", "height") if side in told)
    image = f'<img src="data:image/png;base64,{"".join(raw.split())}" alt="{escape(str(told.get("alt", "")))}"{size}>'
    return f'<figure class="sheet">{image}</figure>'


def _table(html: str) -> str:
    """A frame as pandas writes it, without its looks, and with what a screen reader needs to know of its headings."""
    found = re.search(r"<table.*?</table>", STYLE.sub("", html), re.S)
    head, body, rest = BARE.sub("", found[0] if found else "").partition("<tbody>")
    head = EMPTY.sub(r"<td\1></td>", head)  # a heading of nothing is none
    return HEADING.sub(' scope="col"', head) + body + HEADING.sub(' scope="row"', rest)
