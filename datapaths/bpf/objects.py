"""Every eBPF object that agents load, compiled ahead: `python -m datapaths.bpf.objects` when an image is built.

An agent that starts in a container finds them in the cache, whoever it runs as.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datapaths.bpf import balance, http, policy, redirect, splice
from datapaths.bpf.sampling import TRACED
from lab import compile


def compiled() -> Iterator[Path]:
    """Each of them, with the flags that its part asks for."""
    for flags in ((), TRACED):
        yield compile.bpf(http.SOURCE, *http.FLAGS, *flags)
    for module in (balance, policy, redirect, splice):
        yield compile.bpf(module.SOURCE, *module.FLAGS)


if __name__ == "__main__":
    print("\n".join(path.name for path in compiled()))
