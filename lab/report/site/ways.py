"""Where each page of the site is, and the frame that links to them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup

from lab.report.frame import Frame
from lab.report.published import FORECAST, RUN, Published
from lab.report.site.prose import slug

WAYS = (  # (id, title, address)
    ("runs", "Runs", "index.html"),
    ("claims", "Claims", "claims/index.html"),
    ("forecasts", "Forecasts", "forecasts/index.html"),
    ("method", "Method", "method.html"),
    ("glossary", "Glossary", "glossary.html"),
    ("documents", "Documents", "docs/index.html"),
)


@dataclass(frozen=True)
class SiteFrame(Frame):
    """Around one page. `root` leads from it to the first page; `here` is its part of the site."""

    template: str = "site/frame.html.j2"
    root: str = ""
    here: str = ""
    exactly: bool = False  # it is that part's own first page
    terms: frozenset[str] = frozenset()  # anchors of the glossary
    claims: frozenset[str] = frozenset()
    ways: tuple[tuple[str, str, str], ...] = WAYS

    def term(self, word: str, shown: str = "") -> str:
        if slug(word) not in self.terms:
            return shown or word
        return Markup('<a href="{}glossary.html#{}">{}</a>').format(self.root, slug(word), shown or word)

    def claim(self, number: str) -> str:
        if number not in self.claims:
            return number
        return Markup('<a href="{}{}">{}</a>').format(self.root, claim(number), number)


def claim(number: str) -> str:
    """The page of a claim."""
    return f"claims/{number.lower()}.html"


def of(one: Published) -> str:
    """The page of what was published; empty where it has none."""
    if one.kind == RUN:
        return f"runs/{one.name}.html"
    if one.kind == FORECAST:
        return f"forecasts/{one.name}.html"
    return f"other/{one.name}/index.html" if one.report else ""


def address(page: str) -> str:
    """A page's name as a link: whatever a folder was called."""
    return quote(page)
