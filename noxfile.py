"""The sessions: `nox -l` lists them. They run in the environment that `./mesh-lab` made; nothing is built twice."""

from __future__ import annotations

import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "tests"]

ROOT = Path(__file__).parent
NO_INSTALL = "--no-install"


def _python(session: nox.Session, *words: str) -> None:
    session.run(
        sys.executable, *words, env={"PYTHONWARNINGS": "error::DeprecationWarning:lab", "PYTHONPATH": str(ROOT)}
    )


@nox.session
def system(session: nox.Session) -> None:
    """Install the Debian packages that are missing, after saying which and why (`-- --no-install` only says)."""
    _python(session, "-m", "lab.packages", *(w for w in session.posargs if w == NO_INSTALL))


@nox.session
def reproduce(session: nox.Session) -> None:
    """Measure every claim this machine can measure and write a report; arguments go to `mesh-lab reproduce`."""
    system(session)
    _python(session, "-m", "lab", "reproduce", *(w for w in session.posargs if w != NO_INSTALL))


@nox.session
def gate(session: nox.Session) -> None:
    """Is a datapath slower than another, or than it was? Arguments go to `mesh-lab gate` (see docs/regression.md)."""
    system(session)
    _python(session, "-m", "lab", "gate", *(w for w in session.posargs if w != NO_INSTALL))


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types."""
    _python(session, "-m", "ruff", "check", ".")
    _python(session, "-m", "ruff", "format", "--check", ".")
    _python(session, "-m", "mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The project's tests: style, types, then pytest; arguments go to pytest, or all tests are run in two processes."""
    system(session)
    lint(session)
    words = [w for w in session.posargs if w != NO_INSTALL]
    _python(session, "-m", "pytest", *(words or ("-n", "2", "--dist", "loadgroup")))  # groups: see conftest.py


BENCHES = {  # what is measured: the module that measures it
    "load": ("-m", "lab.load.bench"),  # the engine beside h2load and wrk
    "sim": ("-m", "lab.sim.bench"),  # the simulator beside SimPy and Ciw
    "parser": ("tests/bench_bpf_parser.py",),  # BPF time a request of visibility; --against REVISION: beside another
    "tracing": ("-m", "datapaths.bpf.tracing_bench"),  # BPF time a request with and without spans
    "features": ("-m", "lab", "run", "ebpf_features"),  # BPF time a request by feature; a run with a report
    "fastpath": ("-m", "datapaths.bpf.fastpath_bench"),  # throughput between pods of one node
    "counts": ("tests/bpf_disorder.py",),  # a million requests over a network that loses and reorders packets
    "connect": ("tests/bench_bpf_connect.py",),  # connect() to a service: balanced, DNAT, none
}


@nox.session
def bench(session: nox.Session) -> None:
    """Ratios, each measured in one interleaved run: all of BENCHES, or `-- NAME [its arguments]`."""
    system(session)
    words = [w for w in session.posargs if w != NO_INSTALL]
    if words and words[0] not in BENCHES:
        session.error(f"no bench {words[0]!r}; there are {', '.join(BENCHES)}")
    for name in words[:1] or BENCHES:
        session.log(name)
        _python(session, *BENCHES[name], *words[1:])


@nox.session
def kind(session: nox.Session) -> None:
    """Tests and a smoke run with its report on a kind cluster (docs/kubernetes.md); arguments go to pytest.

    MESH_LAB_KIND_… and MESH_LAB_IMAGE_ARCHIVE say which. A cluster that is there is used; else each makes its own.
    """
    _python(session, "-m", "pytest", "tests/test_kube_live.py", "--kind", "-q", *session.posargs)
    _python(session, "-m", "lab", "run", "http_visibility", "--profile", "smoke", "--cluster", "kind")


@nox.session
def fuzz(session: nox.Session) -> None:
    """The HTTP parser in user space against llhttp, by libFuzzer, for a bounded time; arguments: --seconds N."""
    system(session)
    _python(session, "-m", "datapaths.bpf.fuzz", *(w for w in session.posargs if w != NO_INSTALL))


@nox.session
def notebooks(session: nox.Session) -> None:
    """Execute the notebooks; arguments: NAME…, --run FOLDER, --out FOLDER."""
    _python(session, "-m", "lab.notebooks", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Build the site of everything in results/; arguments: --results FOLDER, --out FOLDER (default: site/)."""
    _python(session, "-m", "lab.report.site", *session.posargs)


@nox.session
def figures(session: nox.Session) -> None:
    """Everything that is made from results/, made anew: README, docs, their figures, then the site."""
    _python(session, "-m", "lab.report.renewed")
    _python(session, "-m", "lab.report.site")


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve requirements.lock anew from pyproject.toml: hashes, no registry named."""
    uv = Path(sys.executable).with_name("uv")
    options = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-header")
    session.run(
        str(uv), "pip", "compile", *options, "--extra", "dev", "pyproject.toml", "-q", "-o", "requirements.lock"
    )
