"""Markdown documents as HTML, by markdown-it: headings with anchors, tables that scroll, no HTML of their own."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup

OUTSIDE = ("https://", "http://", "mailto:")
COMMENT = re.compile(r"<!--.*?-->", re.S)


@dataclass(frozen=True)
class Prose:
    """A document: its title as text, its second-level headings (anchor, text), and what stands below the title."""

    title: str
    headings: tuple[tuple[str, str], ...]
    html: Markup
    anchors: frozenset[str]


def prose(text: str, source: str, pages: Mapping[str, str], root: str) -> Prose:
    """A document of the project as HTML.

    `source` is its path below the project's root and decides what its relative links mean; `pages` says where a file of
    the project is on the site, `root` leads from the page to the site's first page. A link to anything else of the
    project becomes plain text.
    """
    parser = MarkdownIt("commonmark", renderer_cls=_Renderer).enable("table")
    tokens = parser.parse(text)
    title = _take_title(tokens) or source
    headings = _anchor(tokens)
    for token in tokens:
        for child in token.children or ():
            _lead(child, source, pages, root)
    html = parser.renderer.render(tokens, parser.options, {})
    shown = tuple((anchor, words) for level, anchor, words in headings if level == "h2")
    return Prose(title, shown, Markup(html), frozenset(anchor for _, anchor, _ in headings))  # noqa: S704 - escaped


def slug(words: str) -> str:
    """A heading as an anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")


def _take_title(tokens: list[Token]) -> str:
    """Remove the first heading of the first level; its text."""
    for number, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h1":
            words = _text(tokens[number + 1])
            del tokens[number : number + 3]
            return words
    return ""


def _anchor(tokens: Sequence[Token]) -> list[tuple[str, str, str]]:
    """Give every heading an id of its own; (tag, id, text)."""
    found: list[tuple[str, str, str]] = []
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            words = _text(tokens[number + 1])
            anchor, taken = slug(words) or "section", {a for _, a, _ in found}
            anchor = next(a for n in range(len(taken) + 1) if (a := f"{anchor}-{n}" if n else anchor) not in taken)
            token.attrSet("id", anchor)
            found.append((token.tag, anchor, words))
    return found


def _text(inline: Token) -> str:
    return "".join(c.content for c in inline.children or () if c.type in ("text", "code_inline"))


def _lead(token: Token, source: str, pages: Mapping[str, str], root: str) -> None:
    """Send a link where its file is on the site; make it no link where it is nowhere."""
    name = {"link_open": "href", "image": "src"}.get(token.type)
    if name is None:
        return
    target = str(token.attrGet(name) or "")
    if target.startswith((*OUTSIDE, "#")):
        return
    path, mark, anchor = target.partition("#")
    page = pages.get(posixpath.normpath(posixpath.join(posixpath.dirname(source), path)))
    if page is None:
        token.attrs.pop(name)
    else:
        token.attrSet(name, f"{root}{page}{mark}{anchor}")


class _Renderer(RendererHTML):
    """What differs from CommonMark's own: nothing of HTML passes, tables and programs scroll in regions with names."""

    def __init__(self, parser: Any = None) -> None:
        super().__init__(parser)
        self.tables = 0

    def html_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """Comments are for those who edit the file; anything else is shown as it was typed."""
        left = COMMENT.sub("", tokens[idx].content).strip()
        return f"<p>{escape(left)}</p>\n" if left else ""

    def html_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """As above, within a line."""
        return escape(COMMENT.sub("", tokens[idx].content))

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """A region of its own, named by its number and the heading it stands under."""
        self.tables += 1
        above = [n for n in range(idx) if tokens[n].type == "heading_open"]
        under = f": {_text(tokens[above[-1] + 1])}" if above else ""
        name = escape(f"Table {self.tables}{under}")
        return f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">\n<table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """The end of the region."""
        return "</table>\n</div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """A heading says that it is a column's."""
        return f'<th scope="col"{_side(tokens[idx])}>'

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """A cell; numbers to the right by class, not by style."""
        return f"<td{_side(tokens[idx])}>"

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        """A program: it scrolls by keyboard too."""
        return f'<pre tabindex="0"><code>{escape(tokens[idx].content)}</code></pre>\n'

    code_block = fence


def _side(token: Token) -> str:
    return ' class="n"' if "right" in str(token.attrGet("style") or "") else ""
