"""What stands around a page: a file of its own with its style inside, or a page of the site."""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from lab.report import looks, units


@dataclass(frozen=True)
class Frame:
    """A file of its own: words stay words, since there is nowhere to go. The site's frame makes links of them."""

    template: str = "alone.html.j2"
    heading: str = ""  # of the page, where its own would be that of others, too

    def term(self, word: str, shown: str = "") -> str:
        """A term of the glossary, shown as it is or as `shown`."""
        return shown or word

    def claim(self, number: str) -> str:
        """A claim by its number."""
        return number


ALONE = Frame()
TONES = {  # fixed words of verdicts, contrasts and proofs
    "good": ("holds", "holds if", "faster", "proven"),
    "bad": ("does not hold", "slower", "saturated", "NOT PROVEN"),
    "open": ("undecided", "not measurable here", "not comparable"),
}


def environment(frame: Frame = ALONE) -> Environment:
    """Templates of `lab.report`: everything printed is escaped, and a name that is missing is an error."""
    made = Environment(
        loader=PackageLoader("lab.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"units": units, "tone": tone, "frame": frame, "colours": looks.DARK}
    return made


def tone(cell: str) -> str:
    """A class for a fixed word, empty for any other cell."""
    if cell.startswith("equivalent within"):
        return "good"
    if cell.startswith("SATURATED"):
        return "bad"
    return next((tone for tone, words in TONES.items() if cell in words), "")
