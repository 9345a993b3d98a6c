"""For all tests: they keep clear of a run of the lab that may be going on, and of each other; and `--kind`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clusters that tests open have their lock, cgroups and folders under a name of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESH_LAB_STATE", str(tmp_path_factory.mktemp("state")))
        yield


# What needs nothing of the machine but a processor and files. All else makes namespaces, loads programs, counts what is
# there before and after: it stays in one process, one test after the other.
APART = (
    "claims",
    "check",
    "codec",
    "exchange",
    "gates",
    "image",
    "imports",
    "journeys_plan",
    "journeys_summary",
    "kube_cli",
    "kube_cluster",
    "kube_failures",
    "kube_guest",
    "kube_manifests",
    "kube_turns",
    "kubernetes_documents",
    "ledger",
    "load_bench",
    "load_engine",
    "load_omission",
    "load_schedule",
    "notebooks",
    "plan",
    "regression_document",
    "regression_outputs",
    "regression_share",
    "regression_words",
    "report",
    "sim",
    "stats",
    "store",
    "summary",
)


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `-n 2 --dist loadgroup` (see noxfile.py): tests of the machine are one group, of others each file is one."""
    for item in items:
        name = item.path.stem.removeprefix("test_")
        item.add_marker(pytest.mark.xdist_group(name if name.startswith(APART) else "machine"))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mesh-lab")
    wanted = os.environ.get("MESH_LAB_KIND", "") not in ("", "0")
    group.addoption(
        "--kind", action="store_true", default=wanted, help="Test on a kind cluster, too (MESH_LAB_KIND=1)."
    )
    context = os.environ.get("MESH_LAB_KUBE")
    group.addoption("--kube", metavar="CONTEXT", default=context, help="The same on a cluster that is there already.")


@pytest.fixture(scope="session")
def kube_place(request: pytest.FixtureRequest) -> Iterator[tuple[str, Path | None]]:
    """Context and kubeconfig (None: the user's) of a cluster for tests; a visible skip where none was asked for.

    pytest-kind's own options hold for `--kind`, beside the variables MESH_LAB_KIND_… (see lab/cluster/kind.py):
    `--kind-bin`, `--kind-kubectl-bin`, `--kind-image`, `--cluster-name`, `--keep-cluster`.
    """
    context = request.config.getoption("--kube")
    if context:
        yield context, None
        return
    if not request.config.getoption("--kind"):
        pytest.skip("needs a Kubernetes cluster: pytest --kind (or MESH_LAB_KIND=1), or --kube CONTEXT")
    from lab.cluster.kind import Kind, Settings  # noqa: PLC0415 - only these tests need it

    with Kind(Settings.of({**os.environ, **_given(request.config)})) as kind:
        yield kind.context, kind.kubeconfig


@pytest.fixture(scope="session")
def kube_cluster(kube_place: tuple[str, Path | None]) -> Callable[..., AbstractContextManager[Any]]:
    """Makes a cluster object for a run's name: `with kube_cluster("my-test") as cluster`."""
    context, kubeconfig = kube_place
    made = import_module("lab.cluster.kube").KubeCluster
    return lambda run, **options: made(run, context, kubeconfig=kubeconfig, **options)


def _given(config: pytest.Config) -> dict[str, str]:
    """What pytest-kind's options say, as Settings.of reads it."""
    told = {
        "MESH_LAB_KIND_BINARY": config.getoption("kind_bin", None),
        "MESH_LAB_KUBECTL": config.getoption("kind_kubectl_bin", None),
        "MESH_LAB_KIND_IMAGE": config.getoption("kind_image", None),
        "MESH_LAB_KIND_KEEP": "1" if config.getoption("keep_cluster", False) else None,
    }
    name = config.getoption("cluster_name", None)
    told["MESH_LAB_KIND_NAME"] = name if name != "pytest-kind" else None  # its default; ours is another
    return {key: value for key, value in told.items() if value}
