"""What the lab calls its objects on Kubernetes, and the labels by which it finds them again."""

from __future__ import annotations

import hashlib
import re
import tomllib
from importlib import metadata

from lab.compile import ROOT

LAB = "mesh-datapath-lab"
MANAGED_BY = "app.kubernetes.io/managed-by"
RUN = f"{LAB}/run"
POD = f"{LAB}/pod"
ARM = f"{LAB}/arm"
ROLE = f"{LAB}/role"  # `pod` of a scenario, or `node`
STARTS = f"{LAB}/starts"  # annotation, with `-<container>`: what its guest is told to start
OURS = f"{MANAGED_BY}={LAB}"
_MOST = 50  # letters, with room for a suffix below the 63 of a DNS label


def image() -> str:
    """The one image that everything runs in."""
    try:
        version = metadata.version(LAB)
    except metadata.PackageNotFoundError:  # a checkout that is used as it is
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return f"{LAB}:{version}"


def dns(name: str) -> str:
    """The name as a DNS label; one that is too long keeps its beginning and a hash of the whole."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "x"
    if len(plain) <= _MOST:
        return plain
    return f"{plain[: _MOST - 9].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def namespace(run: str) -> str:
    """Of a run's pods."""
    return dns(f"mesh-lab-{run}")


def node_namespace(run: str) -> str:
    """Of what a run has on nodes; apart, since it alone needs to be privileged."""
    return f"{namespace(run)}-nodes"


def labels(run: str, **more: str) -> dict[str, str]:
    """On every object."""
    return {MANAGED_BY: LAB, RUN: dns(run), **more}
