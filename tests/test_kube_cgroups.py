"""From a pod's uid to its cgroup: recordings of twelve kinds of node, and a real hybrid one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kube_hosts import HOSTS, Host

from datapaths.bpf.places import Places, listener
from lab.cluster import Mesh, Node, Part, Pod, cgroup, pods
from lab.cluster.pods import OWN, Groups, ending, ids, inside, of_container, of_pod, reach, unified
from lab.compile import ROOT
from lab.meter.cpu import usage
from lab.meter.view import Seen, packed
from lab.record import CannotRun, Failed, Load, Window

MOUNTED, TREES = pods._mounted, pods._trees  # before tests stand in for them


@pytest.fixture(params=HOSTS, ids=lambda name: name)
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]


@pytest.fixture(autouse=True)
def _no_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording must be understood as it is: nothing is mounted here."""

    def refuse() -> Path:
        raise CannotRun("a mount was wanted")

    monkeypatch.setattr("lab.cluster.pods._mounted", refuse)


@pytest.fixture
def proc(host: Host, tmp_path: Path) -> Path:
    """A /proc that says what the recording says, and the folders it speaks of."""
    top, proc = tmp_path / "host", tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self/mountinfo").write_text(host.mountinfo.format(top=top))
    for pid, text in host.processes.items():
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "cgroup").write_text(text)
    for folder in filter(None, (host.folder, host.inner, "sys/fs/cgroup/unified/system.slice/containerd.service")):
        (top / folder).mkdir(parents=True, exist_ok=True)
    return proc


def test_the_processes_of_a_container_are_found_and_nobody_elses(host: Host, proc: Path) -> None:
    assert set(Groups(proc).pids(host.uid, host.container)) == set(host.members)
    assert set(host.members) <= set(Groups(proc).pids(host.uid))


def test_a_pod_is_found_where_it_has_a_folder_and_known_to_have_none_elsewhere(host: Host, proc: Path) -> None:
    if host.folder is None:
        assert all(ending(unified(host.processes[pid]), host.uid) is None for pid in host.members)
        return
    top = proc.parent / "host"
    assert Groups(proc).pod(host.uid) == top / host.folder
    assert host.inner
    assert Groups(proc).container(host.uid, host.container) == top / host.inner


def test_the_containers_of_a_pod_are_known_by_its_processes(host: Host, proc: Path) -> None:
    assert {each for pid in host.members for each in ids(host.processes[pid], host.uid)} == {host.container}
    if host.inner:
        assert Groups(proc).container(host.uid, host.container) == proc.parent / "host" / host.inner


def test_another_pod_is_not_found(host: Host, proc: Path) -> None:
    with pytest.raises(Failed, match="is on this node"):
        Groups(proc).pod("00000000-0000-0000-0000-000000000000")
    with pytest.raises(Failed, match="is on this node"):
        Groups(proc).container(host.uid, "f" * 64)


def test_a_name_that_only_contains_the_uid_is_another_pods() -> None:
    uid = "4eede96e-e976-4573-bc90-68dfe2516d3b"
    assert of_pod(f"pod{uid}", uid)
    assert not of_pod(f"pod{uid}0", uid)
    assert not of_pod("kubepods", uid)
    assert not of_pod("", "")
    assert not of_container("crio-conmon-abc.scope", "abc")
    assert not inside("0::/\n", uid)


def test_a_path_above_what_is_mounted_is_not_reached(tmp_path: Path) -> None:
    mounts = f"28 23 0:25 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    assert reach(mounts, "/") == tmp_path
    assert reach(mounts, "/../other") is None
    assert reach("", "/") is None


def test_names_above_the_own_namespace_are_asked_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/c").mkdir()
    mounts = f"28 23 0:25 /../.. {tmp_path} rw - cgroup2 cgroup2 rw\n"
    assert reach(mounts, "/../c") == tmp_path / "a/c"
    assert reach(mounts, "/../../a/b") == tmp_path / "a/b"
    assert reach(mounts, "/") is None  # a/b or a/c: nothing says which


def test_a_mount_of_a_part_of_the_tree_shows_that_part(tmp_path: Path) -> None:
    (tmp_path / "pod").mkdir()
    mounts = f"28 23 0:25 /docker/x {tmp_path} rw - cgroup2 cgroup2 rw\n"
    assert reach(mounts, "/docker/x/pod") == tmp_path / "pod"
    assert reach(mounts, "/docker/y/pod") is None


def _v1() -> Path | None:
    """A hierarchy of cgroup v1 that may be written, beside a v2 tree."""
    listed = cgroup.mounts(Path("/proc/self/mountinfo").read_text())
    if not any(m.kind == "cgroup2" and m.writable for m in listed):
        return None
    return next((m.point for m in listed if m.kind == "cgroup" and m.point.name in ("pids", "freezer")), None)


@pytest.fixture
def pod() -> Iterator[tuple[str, str, list[int]]]:
    """A pod as runc's cgroupfs driver leaves it on a hybrid host: only v1 tells it from its neighbours."""
    hierarchy = _v1()
    if hierarchy is None or not (hierarchy / "cgroup.procs").exists():
        pytest.skip("needs cgroup v1 beside v2, as a hybrid host has")
    uid, container = str(uuid.uuid4()), uuid.uuid4().hex * 2
    top = hierarchy / f"mesh-lab-test-{uid[:8]}"
    folder = top / f"pod{uid}" / container
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"cgroup v1 cannot be written: {error}")
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    for child in children[:2]:
        (folder / "cgroup.procs").write_text(str(child.pid))
    yield uid, container, [child.pid for child in children]
    for child in children:
        child.kill()
        child.wait()
    for each in (folder, folder.parent, top):
        each.rmdir()


def _place(pid: int) -> str:
    return unified(Path(f"/proc/{pid}/cgroup").read_text())


def test_a_pod_without_a_folder_is_given_one_and_moved_back(pod: tuple[str, str, list[int]]) -> None:
    uid, container, (first, second, stranger) = pod
    before = _place(first)
    with Groups() as groups:
        folder = groups.pod(uid)
        assert sorted(cgroup.members(folder)) == sorted([first, second])
        assert folder.parent.name == OWN
        assert _place(stranger) == before
        inner = groups.container(uid, container)
        assert inner.parent == folder
        assert groups.containers(uid) == (inner,)
        assert sorted(cgroup.members(inner)) == sorted([first, second])
        assert groups.pod(uid) == folder
    assert not folder.exists()
    assert _place(first) == _place(second) == before


def test_an_instrument_reads_a_process_by_its_container_and_leaves_the_guest_beside_it_out(
    pod: tuple[str, str, list[int]],
) -> None:
    uid, container, (guest, engine, _stranger) = pod
    told = {"name": "engine", "part": Part.LOAD, "where": "a-client", "arm": "a", "cgroup": None}
    with Groups() as groups:
        seen = Seen({**told, "container": [uid, container], "pids": [engine]}, groups)
        assert seen.cgroup is not None
        assert guest in cgroup.members(seen.cgroup)
        assert seen.pids() == (engine,)
        assert usage(seen).total_s >= 0
        gone = Seen({**told, "container": [uid, container], "pids": [1]}, groups)
        assert gone.pids() == ()


def test_who_did_not_make_a_folder_leaves_it(pod: tuple[str, str, list[int]]) -> None:
    uid, container, (first, *_) = pod
    with Groups() as agent:
        folder = agent.pod(uid)
        with Groups() as instrument:
            assert instrument.pod(uid) == folder
            inner = instrument.container(uid, container)
        assert not inner.exists()
        assert first in cgroup.members(folder)
    assert not folder.exists()


def test_what_a_killed_agent_left_is_removed_once_the_pod_is_gone(pod: tuple[str, str, list[int]]) -> None:
    uid, _, (first, second, _stranger) = pod
    killed = Groups()
    folder = killed.pod(uid)
    Groups().close()
    assert folder.exists()  # its processes live
    back = folder.parents[1] / "cgroup.procs"
    for pid in (first, second):
        back.write_text(str(pid))
    Groups().close()
    assert not folder.exists()


def test_what_was_left_is_removed_too_where_the_tree_must_be_mounted_to_be_seen(
    pod: tuple[str, str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, container, _ = pod
    with Groups() as groups:
        left = groups.pod(uid).with_name(str(uuid.uuid4()))
    (left / container).mkdir(parents=True)
    monkeypatch.setattr("lab.cluster.pods._mounted", MOUNTED)
    monkeypatch.setattr("lab.cluster.pods._trees", lambda text: (m for m in TREES(text) if "mesh-lab" in m.point.name))
    with Groups() as groups:
        assert left.exists()  # nothing shows it yet
        assert groups.pod(uid).parent.name == OWN
        assert not left.exists()
    assert not left.parent.exists()


def test_an_instrument_that_is_told_to_stop_moves_the_pods_processes_back(
    pod: tuple[str, str, list[int]], tmp_path: Path
) -> None:
    uid, container, (first, *_) = pod
    before = _place(first)
    mesh = Mesh((Node("node0", 0, "10.0.0.1"),), (Pod("p", "node0", "a", "x", "10.1.0.1", None, uid),), (), {"a": 0})
    load = {**vars(Load(rate_per_s=1, connections=1)), "arrivals": "poisson"}
    block = {"name": "b", "kind": "slices", "load": load, "windows": [vars(Window(0, 0, "a", 0.0, 1.0))]}
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"node": "node0", "block": block, "mesh": packed(mesh), "processes": []}))
    argv = [sys.executable, "-m", "lab.meter.guest", str(plan)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as instrument:
        assert instrument.stdout is not None
        assert instrument.stdout.readline().startswith("ready")
        assert _place(first).endswith(f"{OWN}/{uid}/{container}")
        instrument.terminate()
        assert instrument.wait(30) == 0
    assert _place(first) == before


def test_an_agent_is_told_of_pods_and_tells_its_parts_of_folders(pod: tuple[str, str, list[int]]) -> None:
    uid, _, (first, *_) = pod
    before = _place(first)
    with Places() as places:
        told = places.settled({"cgroups": ["/known", f"pod:{uid}"], "identities": {}})
        known, found = told["cgroups"]
        assert known == "/known"
        assert first in cgroup.members(Path(found))
        assert places.settled(told) == told
    assert _place(first) == before


def test_a_proxy_is_found_by_the_port_that_it_listens_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener(port) == os.getpid()
    with pytest.raises(Failed, match="start the proxy first"):
        listener(port)
