"""The Debian and Ubuntu packages that the lab needs: which, why, and installing the ones that are missing.

Run as `python -m lab.packages [--no-install]` by the nox session `system`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.record import CannotRun, Failed, LabError


@dataclass(frozen=True)
class Package:
    """One package, what for, and how to tell that it is there without asking a package manager."""

    name: str
    why: str
    there: Callable[[], bool]


def _program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None


def _file(*patterns: str) -> Callable[[], bool]:
    return lambda: any(any(Path("/").glob(p.lstrip("/"))) for p in patterns)


UBUNTU = "ubuntu" in Path("/etc/os-release").read_text().lower()
HEADERS = "linux-headers-generic" if UBUNTU else "linux-headers-amd64"

BROWSER = (  # Ubuntu has them as snaps only, which need a service; its tests use what is there, or are skipped
    Package("chromium", "shows the published site to its tests", _program("chromium")),
    Package("chromium-driver", "lets tests drive that browser", _program("chromedriver")),
)

PACKAGES: tuple[Package, ...] = (
    Package("clang", "compiles the eBPF programs and the load engine", _program("clang")),
    Package("libbpf-dev", "headers and library that load eBPF programs", _file("/usr/include/bpf/bpf_helpers.h")),
    Package("libc6-dev", "C headers for the load engine", _file("/usr/include/stdio.h")),
    Package("nginx", "the server inside the pods (its host service is neither started nor enabled)", _program("nginx")),
    Package(
        "libnginx-mod-http-lua",
        "lets the server sleep a chosen service time",
        _file("/usr/lib/nginx/modules/ngx_http_lua_module.so"),
    ),
    Package("nftables", "redirects traffic into sidecars, resolves service addresses", _program("nft")),
    Package("util-linux", "enters namespaces and drops privileges", _program("setpriv")),
    Package("python3-bpfcc", "tracepoint instruments", _file("/usr/lib/python3/dist-packages/bcc/__init__.py")),
    Package(HEADERS, "kernel headers for the tracepoint instruments", _file("/usr/src/linux-headers-*/Makefile")),
    Package("nghttp2-client", "h2load, to compare load generators with", _program("h2load")),
    Package("wrk", "wrk, to compare load generators with", _program("wrk")),
    Package(
        "haproxy", "its memory beside Envoy's (its host service is neither started nor enabled)", _program("haproxy")
    ),
    Package("openssl", "certificates for connections that are watched inside TLS", _program("openssl")),
    Package(
        "libclang-rt-dev",
        "runs the parser's fuzzer and its sanitizers",
        _file("/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a"),
    ),
    *(() if UBUNTU else BROWSER),
)


def missing() -> tuple[Package, ...]:
    """The packages that are not there, in the order of `PACKAGES`."""
    return tuple(p for p in PACKAGES if not p.there())


def install(packages: tuple[Package, ...]) -> None:
    """Install them with apt-get, without letting any of them start or enable a service."""
    apt = shutil.which("apt-get")
    names = " ".join(p.name for p in packages)
    if apt is None:
        raise CannotRun(f"no apt-get here; install with this system's own package manager: {names}")
    if os.geteuid():
        raise CannotRun(f"installing packages needs root; run again with sudo, or: sudo apt-get install {names}")
    with _no_services():
        for words in (("update", "-q"), ("install", "-q", "-y", "--no-install-recommends", *names.split())):
            if subprocess.run(
                [apt, *words], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False
            ).returncode:
                raise Failed(f"apt-get {words[0]} failed; mend what it says above and run again")
    if any(p.name == "nginx" for p in packages) and shutil.which("systemctl") and Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "disable", "--quiet", "nginx"], check=False)


@contextmanager
def _no_services() -> Iterator[None]:
    """Debian asks this file before a package starts its service; one that is already there is left alone."""
    policy = Path("/usr/sbin/policy-rc.d")
    mine = not policy.exists()
    if mine:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        yield
    finally:
        if mine:
            policy.unlink()


def main(words: list[str]) -> int:
    """Say what is missing and why, then install it unless told not to. Exit code 2: missing and not allowed."""
    absent = missing()
    for package in absent:
        print(f"missing: {package.name:24} {package.why}", flush=True)
    if not absent:
        return 0
    if "--no-install" in words:
        print(f"not installed (--no-install). To install: apt-get install {' '.join(p.name for p in absent)}")
        return 2
    try:
        install(absent)
    except LabError as error:
        print(f"mesh-lab: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
