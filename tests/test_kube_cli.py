"""The command line on clusters elsewhere: what is removed, what is asked of this machine, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kube_api import Api, serving
from typer.testing import CliRunner

from lab import doctor, session
from lab import plan as planning
from lab.cli import app
from lab.cluster.kubernetes import names, remains
from lab.record import Mistake


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(remains, "PAUSE_S", 0.02)
    with serving(tmp_path) as (api, kubeconfig):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield api


def left_by(api: Api, run: str) -> None:
    """Namespaces as a killed run leaves them."""
    for name in (names.namespace(run), names.node_namespace(run)):
        api.create("namespaces", "", {"metadata": {"name": name, "labels": names.labels(run)}})


def test_clean_removes_what_the_lab_left_and_one_run_where_asked(api: Api) -> None:
    for run in ("one", "two"):
        left_by(api, run)
    api.create("namespaces", "", {"metadata": {"name": "mesh-lab-of-somebody-else", "labels": {}}})
    narrowed = CliRunner().invoke(app, ["clean", "--cluster", "kube:test", "--run", "one", "--json"])
    assert json.loads(narrowed.stdout) == [
        "namespace mesh-lab-one (run one)",
        "namespace mesh-lab-one-nodes (run one)",
    ]
    everything = CliRunner().invoke(app, ["clean", "--cluster", "kube"])
    assert "namespace mesh-lab-two" in everything.stdout
    assert api.left() == ["namespaces/mesh-lab-of-somebody-else"]
    assert "nothing was left behind" in CliRunner().invoke(app, ["clean", "--cluster", "kube"]).stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["clean", "--run", "one"], "add --cluster"),
        (["clean", "--cluster", "kube:test", "--force"], "--force has no meaning"),
        (["clean", "--cluster", "kube:other"], "no context 'other'"),
        (["manifests"], "no scenario was given"),
        (["manifests", "hop_costs"], "is a study"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    api: Api, words: list[str], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    done = CliRunner().invoke(app, words)
    said = " ".join((done.output + "".join(capfd.readouterr())).split())
    assert done.exit_code == 2
    assert why in said
    assert "secret" not in said, "nothing of the credentials is shown"


def test_a_cluster_elsewhere_asks_nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def probed(_: object) -> tuple[doctor.Probe, ...]:
        pytest.fail("this machine was examined")

    monkeypatch.setattr(doctor, "probe", probed)
    scenario, study = map(planning.find_question, ("http_visibility", "hop_costs"))
    session._can_run(planning.plan([scenario], "smoke", seed=1, cluster="kube:test"))
    with pytest.raises(Mistake, match="hop_costs on --cluster kube:test; studies run on local"):
        session._can_run(planning.plan([study], "smoke", seed=1, cluster="kube:test"))
    journey = planning.find_question("journeys_browse")
    session._can_run(planning.plan([journey], "smoke", seed=1, cluster="kube:test", engines=2))
    with pytest.raises(Mistake, match="--web-ui 8089 on --cluster kube:test; Locust's pages stay on the loopback"):
        session._can_run(planning.plan([journey], "smoke", seed=1, cluster="kube:test", web_ui=8089))
