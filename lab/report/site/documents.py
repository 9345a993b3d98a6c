"""The project's documents on the site: docs/*.md and the pages beside the README, with what they link to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from lab.report.frame import environment
from lab.report.site.prose import Prose, prose
from lab.report.site.ways import SiteFrame

TOP = ("DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md")
FIRST = {"docs/method.md": "method.html", "docs/glossary.md": "glossary.html"}  # pages of the first rank
BESIDE = ("*.svg", "*.png", "data/*.*")  # what documents show and link to


class Documents:
    """Everything that people wrote, below the project's root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def pages_of(self) -> Mapping[str, str]:
        """Where each file of the project is on the site, by its path below the project's root."""
        docs = sorted(f"docs/{file.name}" for file in (self.root / "docs").glob("*.md"))
        top = [name for name in TOP if (self.root / name).is_file()]
        found = {name: FIRST.get(name, f"docs/{Path(name).stem.lower()}.html") for name in (*docs, *top)}
        return {**found, **{f"docs/{name}": f"docs/{name}" for name in self.beside}}

    @cached_property
    def beside(self) -> Mapping[str, bytes]:
        """Figures and data of the documents, by their path below docs/."""
        docs = self.root / "docs"
        files = sorted(file for pattern in BESIDE for file in docs.glob(pattern))
        return {file.relative_to(docs).as_posix(): file.read_bytes() for file in files}

    @property
    def written(self) -> list[str]:
        """The documents themselves."""
        return [name for name in self.pages_of if name.endswith(".md")]

    @cached_property
    def terms(self) -> frozenset[str]:
        """Anchors of the glossary."""
        return self.read("docs/glossary.md", "").anchors if "docs/glossary.md" in self.pages_of else frozenset()

    def read(self, name: str, root: str) -> Prose:
        """One document, for a page from which `root` leads to the first page."""
        return prose((self.root / name).read_text(), name, self.pages_of, root)

    def pages(self, frame: Callable[..., SiteFrame]) -> Iterator[tuple[str, bytes]]:
        """Path and bytes of every page; `frame` makes what stands around one."""
        titles: dict[str, str] = {}
        for name in self.written:
            page = self.pages_of[name]
            around = frame("documents", "../") if page.startswith("docs/") else frame(Path(page).stem, exactly=True)
            document = self.read(name, around.root)
            titles[page] = document.title
            template = environment(around).get_template("site/prose.html.j2")
            yield page, template.render(document=document, source=name).encode()
        items = [(title, page.removeprefix("docs/"), "") for page, title in titles.items() if page.startswith("docs/")]
        template = environment(frame("documents", "../", exactly=True)).get_template("site/list.html.j2")
        lead = "What the project's authors wrote about it. Numbers in them come from stored runs, which they name."
        yield "docs/index.html", template.render(title="Documents", lead=lead, items=items).encode()
