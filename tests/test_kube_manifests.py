"""What would be applied: golden files for every kind of arm, valid by the published schemas, least of all privileges.

After a change that is meant: MESH_LAB_GOLDEN=1 python -m pytest tests/test_kube_manifests.py, then read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from typer.testing import CliRunner

from lab.cli import app
from lab.cli.kubernetes import deployment
from lab.cluster.kubernetes import names, preview
from lab.cluster.kubernetes.rights import role

GOLDEN = Path(__file__).parent / "golden"
ARMS = ("none", "ebpf", "sidecar", "pernode")
VERSION = "1.33"
Json = dict[str, Any]


@pytest.fixture(scope="module", params=ARMS)
def arm(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(arm: str) -> list[Json]:
    return preview.everything(deployment("http_visibility", arm, "smoke"), f"{names.LAB}:golden")


def pods(made: list[Json], role_: str) -> list[Json]:
    return [m for m in made if m["kind"] == "Pod" and m["metadata"]["labels"][names.ROLE] == role_]


def containers(pod: Json) -> list[Json]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def test_they_are_as_they_were_read_and_agreed(arm: str, made: list[Json]) -> None:
    text, file = preview.text(made, f"scenario http_visibility, datapath {arm}"), GOLDEN / f"kube_{arm}.yaml"
    if os.environ.get("MESH_LAB_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def test_they_are_valid_by_the_published_schemas(made: list[Json]) -> None:
    for each in (*made, role()):
        assert kubernetes_validate.validate(each, VERSION, strict=True) == VERSION


def test_everything_bears_the_labels_that_the_cleaner_looks_for(made: list[Json]) -> None:
    for each in made:
        assert each["metadata"]["labels"].items() >= names.labels(preview.RUN).items()


def test_pods_of_a_scenario_have_as_little_as_they_need(arm: str, made: list[Json]) -> None:
    for pod in pods(made, "pod"):
        assert not {"hostNetwork", "hostPID"} & pod["spec"].keys()
        for container in containers(pod):
            security = container["securityContext"]
            added = security["capabilities"].get("add", [])
            assert security["capabilities"]["drop"] == ["ALL"]
            assert not security["allowPrivilegeEscalation"]
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            if container["name"] == "redirect":
                assert added[:2] == ["NET_ADMIN", "NET_RAW"]
            else:
                assert (added, security["runAsNonRoot"]) == ([], True)
    level = made[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == ("privileged" if arm == "sidecar" else "restricted")


def test_nobody_has_a_token_or_is_pulled_or_restarted(made: list[Json]) -> None:
    for pod in (*pods(made, "pod"), *pods(made, "node")):
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["restartPolicy"] == "Never"
        assert {(c["image"], c["imagePullPolicy"]) for c in containers(pod)} == {
            (f"{names.LAB}:golden", "IfNotPresent")
        }
    assert not [m for m in made if m["kind"] in ("Secret", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")]


def test_only_node_pods_are_privileged_and_in_a_namespace_of_their_own(made: list[Json]) -> None:
    for pod in pods(made, "node"):
        assert pod["metadata"]["namespace"] == names.node_namespace(preview.RUN)
        assert pod["spec"]["hostNetwork"]
        for container in containers(pod):
            bpf = container["securityContext"].get("privileged", False)
            assert bpf == any(m["name"] == "cgroup" for m in container["volumeMounts"])
            assert bpf == (container["name"] != "envoy")


def test_client_and_server_are_on_two_nodes(made: list[Json]) -> None:
    assert [p["spec"]["nodeName"] for p in pods(made, "pod")] == list(preview.NODES)


def test_client_pods_have_a_container_for_engines_and_servers_have_none(made: list[Json]) -> None:
    client, server = ([c["name"] for c in p["spec"]["containers"]] for p in pods(made, "pod"))
    assert client[-1] == "load"
    assert server[-1] == "nginx"


def test_no_address_but_those_of_documentation_and_no_path_of_this_machine(made: list[Json]) -> None:
    text = preview.text(made, "x")
    assert str(Path(__file__).parents[1]) not in text
    assert "10.77." not in text


def test_the_command_writes_them_as_one_text_or_as_files(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["manifests", "http_visibility", "--datapath", "sidecar"])
    assert shown.exit_code == 0, shown.output
    kinds = [each["kind"] for each in yaml.safe_load_all(shown.stdout)]
    assert kinds.count("Pod") == 4
    CliRunner().invoke(app, ["manifests", "http_visibility", "--datapath", "sidecar", "--out", str(tmp_path)])
    assert len(list(tmp_path.glob("*.yaml"))) == len(kinds)
    rights = CliRunner().invoke(app, ["manifests", "--rights"])
    assert yaml.safe_load(rights.stdout) == role()


@pytest.mark.parametrize(("name", "label"), [("none_again-client", "none-again-client"), ("A__b", "a-b"), ("_", "x")])
def test_names_become_dns_labels(name: str, label: str) -> None:
    assert names.dns(name) == label


def test_long_names_stay_apart() -> None:
    one, other = (names.dns("a" * 60 + end) for end in "xy")
    assert one != other
    assert len(one) <= 63 - len("-nodes")
