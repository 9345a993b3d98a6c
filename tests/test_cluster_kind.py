"""A kind cluster is made or used, never both; what kind is asked, as a stand-in for its program has written down."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lab.cluster.kind import THREE_NODES, Kind, Settings
from lab.record import CannotRun, Failed, Mistake

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: kind-x, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: kind-x, context: {cluster: kind-x, user: kind-x}}]
users: [{name: kind-x, user: {token: t}}]
current-context: kind-x
"""

# `kind create cluster --kubeconfig=FILE` writes that file; `get kubeconfig` prints it; `get clusters` lists names.
PROGRAM = """\
#!/bin/sh
echo "$*" >> {folder}/said
case "$1 $2" in
"get clusters") cat {folder}/clusters ;;
"get kubeconfig") cat {folder}/kubeconfig ;;
"create cluster")
    [ -e {folder}/broken ] && exit 1
    for word in "$@"; do
        case "$word" in --kubeconfig=*) cp {folder}/kubeconfig "${{word#--kubeconfig=}}" ;; esac
    done ;;
"load image-archive") [ -e {folder}/unloadable ] && echo "no such image" >&2 && exit 1 ;;
esac
exit 0
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    program = tmp_path / "kind"
    program.write_text(PROGRAM.format(folder=tmp_path))
    program.chmod(0o755)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    (tmp_path / "clusters").write_text("other\n")
    (tmp_path / "image.tar").touch()
    given = {"MESH_LAB_KIND_BINARY": str(program), "MESH_LAB_IMAGE_ARCHIVE": str(tmp_path / "image.tar")}
    return Settings.of(given | {"MESH_LAB_KIND_NAME": "x", "MESH_LAB_KIND_IMAGE": "node:v1"})


def said(settings: Settings) -> list[str]:
    """What kind was asked, without the paths of the moment."""
    lines = (settings.kind.parent / "said").read_text().splitlines()
    return [" ".join(w for w in line.split() if "/" not in w) for line in lines]


def test_a_cluster_that_is_not_there_is_made_given_the_image_and_deleted(settings: Settings) -> None:
    with Kind(settings) as kind:
        assert kind.context == "kind-x"
        assert kind.kubeconfig.read_text() == KUBECONFIG
        assert kind.kubeconfig.stat().st_mode & 0o777 == 0o600
        created = next(x for x in (settings.kind.parent / "said").read_text().splitlines() if x.startswith("create"))
        assert f"--config {THREE_NODES}" in created
        assert "--image=node:v1" in created
    assert [line for line in said(settings) if not line.startswith("get")] == [
        "create cluster --name=x --image=node:v1 --config",
        "load image-archive --name x",
        "delete cluster --name x --kubeconfig",
    ]


def test_a_cluster_that_is_there_is_used_and_never_deleted(settings: Settings) -> None:
    (settings.kind.parent / "clusters").write_text("other\nx\n")
    with Kind(settings) as kind:
        assert kind.kubeconfig.read_text() == KUBECONFIG
    assert not [line for line in said(settings) if line.startswith(("create", "delete"))]


def test_a_cluster_is_kept_when_asked(settings: Settings) -> None:
    with Kind(Settings(settings.kind, name="x", keep=True)):
        pass
    assert not [line for line in said(settings) if line.startswith(("delete", "load"))]


@pytest.mark.parametrize("flaw", ["broken", "unloadable"])
def test_what_could_not_be_made_whole_is_deleted(settings: Settings, flaw: str) -> None:
    (settings.kind.parent / flaw).touch()
    with pytest.raises(Failed, match="kind"), Kind(settings):
        pass
    assert said(settings)[-1].startswith("delete cluster --name x")


def test_nothing_is_left_where_it_was_started(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with Kind(settings) as kind:
        kubeconfig = kind.kubeconfig
    assert not list(here.iterdir())
    assert not kubeconfig.parent.exists()


def test_no_program_and_no_file_are_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="MESH_LAB_KIND_BINARY"):
        Settings.of({"MESH_LAB_KIND_BINARY": str(tmp_path / "none")})
    with pytest.raises(Mistake, match="MESH_LAB_IMAGE_ARCHIVE"):
        Settings.of({"MESH_LAB_KIND_BINARY": "true", "MESH_LAB_IMAGE_ARCHIVE": str(tmp_path / "none")})
    with pytest.raises(Mistake, match="not open"):
        _ = Kind(Settings(Path("kind"))).kubeconfig


def test_the_shipped_configuration_has_two_workers() -> None:
    config = yaml.safe_load(THREE_NODES.read_text())
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker", "worker"]
