"""Every picture of a report, each in a file of its own. All take a `Summary`; only `ecdf` reads raw requests."""

from lab.report.figures.ratios import headline

__all__ = ["headline"]
