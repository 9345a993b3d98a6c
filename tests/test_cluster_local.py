"""The local cluster, driven with real processes and real packets."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from root_namespace import snapshot

from lab.cluster import (
    Http,
    Layout,
    Line,
    Part,
    PodSpec,
    Port,
    Privilege,
    ProcessSpec,
    ServiceSpec,
    cgroup,
    home,
)
from lab.cluster.local import LocalCluster, clean
from lab.cluster.ready import await_ready
from lab.record import CannotRun, Failed, Mistake

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="nft is missing (apt-get install nftables)"),
]

ROOT = Path(__file__).parent.parent
ASK = "import sys, urllib.request as u\nfor url in sys.argv[1:]: print(u.urlopen(url, timeout=5).read().decode())"


def server(text: str) -> ProcessSpec:
    argv = (sys.executable, "-m", "http.server", "8080", "--directory", "{dir}")
    return ProcessSpec("web", argv, Part.APP, files={"name": text}, ready=Http(8080, "/name"))


def shell(script: str, name: str = "sh", **rest: Any) -> ProcessSpec:
    return replace(ProcessSpec(name, ("sh", "-c", script), Part.APP), **rest)


def layout() -> Layout:
    pods = (
        PodSpec("client", 0, "arm", "client"),
        PodSpec("near", 0, "arm", "server", (server("near"),)),
        PodSpec("far", 1, "arm", "server", (server("far"),)),
    )
    services = (
        ServiceSpec("to-near", "arm", 8080, ("near",)),
        ServiceSpec("to-far", "arm", 8080, ("far",)),
        ServiceSpec("to-both", "arm", 8080, ("near", "far")),
    )
    return Layout(pods, services)


def only(*processes: ProcessSpec, init: tuple[ProcessSpec, ...] = ()) -> Layout:
    return Layout((PodSpec("pod", 0, "arm", "app", processes, init),), ())


@pytest.fixture(scope="module", params=[False, True], ids=["routed", "overlay"])
def any_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster("paths", overlay=request.param, state=tmp_path_factory.mktemp("state")) as opened:
        opened.deploy(layout())
        yield opened


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster("processes", cpus="per_node", state=tmp_path_factory.mktemp("state")) as opened:
        opened.deploy(layout())
        yield opened


def output(cluster: LocalCluster, where: str, spec: ProcessSpec) -> list[str]:
    process = cluster.run(where, "arm", spec)
    assert process.wait(20) == 0, process.story("failed")
    return process.read("stdout").decode().splitlines()


def ask(cluster: LocalCluster, where: str, *addresses: str) -> list[str]:
    urls = tuple(f"http://{address}:8080/name" for address in addresses)
    return output(cluster, where, ProcessSpec("ask", (sys.executable, "-c", ASK, *urls), Part.LOAD))


def test_pods_reach_each_other_on_their_node_and_across(any_cluster: LocalCluster) -> None:
    mesh = any_cluster.mesh
    assert ask(any_cluster, "client", mesh.pod("near").address, mesh.pod("far").address) == ["near", "far"]


def test_service_addresses_lead_to_their_pods_from_pods_and_nodes(any_cluster: LocalCluster) -> None:
    addresses = [any_cluster.mesh.service(name).address for name in ("to-near", "to-far")]
    for where in ("client", "node0", "node1"):
        assert ask(any_cluster, where, *addresses) == ["near", "far"]


def test_a_service_spreads_connections_over_all_its_pods(any_cluster: LocalCluster) -> None:
    answers = ask(any_cluster, "client", *[any_cluster.mesh.service("to-both").address] * 40)
    assert len(answers) == 40
    assert set(answers) == {"near", "far"}


def test_large_answers_fit_through_the_underlay(any_cluster: LocalCluster) -> None:
    address = any_cluster.mesh.pod("far").address
    big = shell("head -c 3000000 /dev/zero > {dir}/big; exec python3 -m http.server 8081", ready=Port(8081))
    any_cluster.run("far", "arm", big)
    script = f"import urllib.request as u; print(len(u.urlopen('http://{address}:8081/big', timeout=5).read()))"
    assert output(any_cluster, "client", ProcessSpec("ask", (sys.executable, "-c", script), Part.LOAD)) == ["3000000"]


def test_a_process_runs_as_its_user_in_its_namespace_and_cgroup(cluster: LocalCluster) -> None:
    script = "id -u; id -g; id -G; readlink /proc/self/ns/net; sed -n 's/^0:://p' /proc/self/cgroup"
    script += "; grep CapEff /proc/self/status"
    process = cluster.run("client", "arm", shell(script, user=1337))
    assert process.wait(5) == 0
    uid, gid, groups, namespace, group, effective = process.read("stdout").decode().splitlines()
    assert (uid, gid, groups) == ("1337", "1337", "1337")
    assert namespace == f"net:[{os.fstat(cluster.inside('client').fd).st_ino}]"
    pod = cluster.mesh.pod("client").cgroup
    assert pod is not None
    assert process.cgroup.parent == pod
    assert str(process.cgroup).endswith(group)
    assert int(effective.split()[1], 16) == 0


def test_privileges_are_capabilities(cluster: LocalCluster) -> None:
    def capabilities(**rest: Any) -> tuple[str, int]:
        uid, line = output(cluster, "node0", shell("id -u; grep CapEff /proc/self/status", **rest))
        return uid, int(line.split()[1], 16)

    assert capabilities(privileges=frozenset({Privilege.NET_ADMIN})) == ("65534", 1 << 12 | 1 << 13)
    uid, held = capabilities(privileges=frozenset({Privilege.BPF}))
    assert uid == "0"
    assert held >> 21 & 1  # CAP_SYS_ADMIN
    uid, held = capabilities(user=0)
    assert uid == "0"
    assert not held >> 21 & 1
    assert held >> 10 & 1  # CAP_NET_BIND_SERVICE


def test_a_process_may_open_as_many_files_as_the_machine_allows(cluster: LocalCluster) -> None:
    (limit,) = output(cluster, "client", shell("ulimit -n"))
    assert int(limit) > 1024


def test_files_are_written_with_the_folder_in_place_of_dir(cluster: LocalCluster) -> None:
    spec = shell("cat {dir}/conf/a; pwd", files={"conf/a": "root={dir}\n"}, env={"X": "{dir}"})
    first, second = output(cluster, "client", spec)
    assert first == f"root={second}"


def test_python_processes_import_the_lab_wherever_it_was_started(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", ".")
    spec = ProcessSpec("import", (sys.executable, "-c", "import lab; print(*lab.__path__)"), Part.LOAD)
    assert output(cluster, "client", spec) == [str(ROOT / "lab")]


def test_a_program_below_a_root_only_folder_runs_as_anybody(cluster: LocalCluster, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    program = closed / "inner" / "program"
    program.write_text("#!/bin/sh\ncat $(dirname $0)/data; id -u; touch $(dirname $0)/new || echo cannot write\n")
    (closed / "inner" / "data").write_text("data\n")
    program.chmod(0o755)
    closed.chmod(0o700)
    assert output(cluster, "client", ProcessSpec("p", (str(program),), Part.APP)) == ["data", "65534", "cannot write"]


def test_a_program_that_its_user_may_not_execute_is_named_with_the_remedy(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    with pytest.raises(CannotRun, match=r"chmod o\+rx"):
        cluster.run("client", "arm", ProcessSpec("p", (str(program),), Part.APP))


def test_a_program_that_is_missing_is_named(cluster: LocalCluster) -> None:
    with pytest.raises(CannotRun, match="no program 'no-such-program'"):
        cluster.run("client", "arm", ProcessSpec("p", ("no-such-program",), Part.APP))


def test_pids_are_the_process_and_its_children(cluster: LocalCluster) -> None:
    process = cluster.run("far", "arm", shell("sleep 60 & echo up; wait", ready=Line("up")))
    assert len(process.pids()) == 2
    process.terminate()
    process.wait(5)


def test_a_process_listens_to_what_it_is_told(cluster: LocalCluster) -> None:
    process = cluster.run("client", "arm", shell("read x; echo heard $x"))
    process.tell("start 12")
    assert process.wait(5) == 0
    assert process.read("stdout") == b"heard start 12\n"
    with pytest.raises(Failed, match="does not listen"):
        process.tell("more")


def test_waiting_too_long_stops_it_with_its_last_words_and_children(cluster: LocalCluster) -> None:
    process = cluster.run("client", "arm", shell("trap '' TERM; echo busy; sleep 60 & sleep 60", ready=Line("busy")))
    with pytest.raises(Failed, match=r"still running after 0.1 s.*\n  busy"):
        process.wait(0.1)
    assert process.pids() == ()


def test_reading_stays_in_the_folder(cluster: LocalCluster) -> None:
    process = cluster.run("client", "arm", shell("ln -s /etc/shadow {dir}/link"))
    process.wait(5)
    for name in ("../x", "/etc/passwd", "link"):
        with pytest.raises(Mistake, match="not in the folder"):
            process.read(name)
    with pytest.raises(Failed, match="there is link, stderr, stdout"):
        process.read("absent")


def test_a_process_that_runs_again_keeps_what_the_first_printed(cluster: LocalCluster) -> None:
    first, second = (cluster.run("client", "arm", shell(f"echo {n}", name="again")) for n in (1, 2))
    assert (first.wait(5), second.wait(5)) == (0, 0)
    assert (first.read("stdout"), second.read("stdout")) == (b"1\n", b"2\n")
    assert first.cgroup != second.cgroup


def test_dying_before_ready_tells_who_where_why(cluster: LocalCluster) -> None:
    with pytest.raises(Failed, match=r"sh in client \(arm arm\) ended with exit code 3 .*\n  bad config"):
        cluster.run("client", "arm", shell("echo bad config >&2; exit 3", ready=Port(9)))


def test_never_being_ready_tells_who_and_what_was_awaited(cluster: LocalCluster) -> None:
    process = cluster.run("client", "arm", shell("sleep 60"))
    process.spec = replace(process.spec, ready=Port(9))
    with pytest.raises(Failed, match=r"not ready after 0.1 s \(Port\(port=9\)\)"):
        await_ready(process, cluster.inside("client"), threading.Event(), timeout_s=0.1)


def test_fetch_speaks_to_the_inside(cluster: LocalCluster) -> None:
    assert cluster.fetch("far", 8080, "/name") == b"far"
    with pytest.raises(Failed, match="answers 404"):
        cluster.fetch("far", 8080, "/absent")
    with pytest.raises(Failed, match="Connection refused"):
        cluster.fetch("client", 8080, "/name")
    with pytest.raises(Mistake, match="there are client, far, near, node0, node1"):
        cluster.fetch("nowhere", 8080, "/")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are needed to share them out")
def test_nodes_have_cores_of_their_own_when_asked(cluster: LocalCluster) -> None:
    script = "import os; print(*sorted(os.sched_getaffinity(0)))"
    spec = ProcessSpec("cores", (sys.executable, "-c", script), Part.APP)
    zero, one = (set(output(cluster, node, spec)[0].split()) for node in ("node0", "node1"))
    assert not zero & one


def test_a_pods_init_runs_before_it_and_node_processes_before_all(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    note = 'echo {} >> "$SEEN"'
    root: dict[str, Any] = {"user": 0, "env": {"SEEN": str(seen)}}
    pod = PodSpec(
        "pod", 0, "arm", "app", (shell(note.format("main") + "; echo up", **root, ready=Line("up")),),
        init=(shell(f"sleep 0.1; {note.format('init')}", name="init", **root),),
    )  # fmt: skip
    on_node = shell(f"{note.format('node')}; echo up; sleep 60", name="agent", ready=Line("up"), **root)
    with LocalCluster("order", nodes=1, state=tmp_path / "state") as opened:
        opened.deploy(Layout((pod,), (), lambda node, mesh: [("arm", on_node)]))
        assert seen.read_text().split() == ["node", "init", "main"]


def test_an_init_step_that_fails_stops_the_deployment_and_leaves_nothing(tmp_path: Path) -> None:
    with LocalCluster("init", state=tmp_path / "state") as opened:
        with pytest.raises(Failed, match=r"is an init step and ended with exit code 4.*\n  no rules"):
            opened.deploy(only(shell("sleep 60"), init=(shell("echo no rules; exit 4"),)))
        assert opened.processes == []
        assert list_leftovers(tmp_path / "state", running=True) == []
        opened.deploy(only())  # and it can be used again


def test_one_that_fails_stops_the_others_at_once(tmp_path: Path) -> None:
    waits = PodSpec("waits", 0, "arm", "app", (shell("sleep 60", ready=Port(9)),))
    hangs = PodSpec("hangs", 0, "arm", "app", init=(shell("sleep 60"),))
    fails = PodSpec("fails", 1, "arm", "app", (shell("sleep 0.1; exit 5", ready=Port(9)),))
    with LocalCluster("stop", state=tmp_path / "state") as opened, pytest.raises(Failed, match="in fails"):
        opened.deploy(Layout((waits, hangs, fails), ()))


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (Layout((PodSpec("p", 2, "arm", "a"),), ()), "nodes 0 to 1"),
        (Layout((PodSpec("p", 0, "arm", "a"), PodSpec("p", 1, "arm", "a")), ()), "two pods or nodes are called 'p'"),
        (Layout((PodSpec("node0", 0, "arm", "a"),), ()), "called 'node0'"),
        (Layout((PodSpec("../p", 0, "arm", "a"),), ()), "allowed are letters"),
        (
            Layout((PodSpec("p", 0, "arm", "a"),), (ServiceSpec("s", "arm", 80, ("q",)),)),
            "points to pod 'q'; there are p",
        ),
    ],
)
def test_a_layout_that_cannot_be_placed_is_refused(tmp_path: Path, bad: Layout, text: str) -> None:
    with LocalCluster("bad", state=tmp_path / "state") as opened, pytest.raises(Mistake, match=text):
        opened.deploy(bad)


def test_it_must_be_opened_and_holds_one_deployment(tmp_path: Path) -> None:
    closed = LocalCluster("closed", state=tmp_path / "state")
    with pytest.raises(Mistake, match="with LocalCluster"):
        closed.deploy(only())
    with closed as opened:
        opened.deploy(only())
        with pytest.raises(Mistake, match="call undeploy"):
            opened.deploy(only())
        opened.undeploy()
        opened.undeploy()
        opened.deploy(only())


def test_without_root_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CannotRun, match="run it with sudo"), LocalCluster("user", state=tmp_path / "state"):
        pass


def test_a_second_cluster_is_told_who_has_the_first(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with LocalCluster("first", state=state):
        with pytest.raises(Mistake, match=rf"run 'first' \(pid {os.getpid()}\).*kill {os.getpid()}"):
            LocalCluster("second", state=state).__enter__()
        with pytest.raises(Mistake, match="run 'first'"):
            clean(state=state)
        with pytest.raises(Mistake, match="cannot be ended from here"):
            clean(force=True, state=state)
    with LocalCluster("second", state=state):
        pass
    assert not state.exists()


def test_no_file_descriptor_and_no_thread_is_left(tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208

    before = held()
    with LocalCluster("held", state=tmp_path / "state") as opened:
        opened.deploy(layout())
    assert held() == before


def test_a_host_with_cgroup_v1_alone_gets_a_tree_for_as_long_as_it_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"

    class WithoutCgroup2:
        def read_text(self) -> str:
            lines = Path("/proc/self/mountinfo").read_text().splitlines()
            return "\n".join(line for line in lines if " - cgroup2 " not in line or str(state) in line)

    before = snapshot()
    monkeypatch.setattr(home, "_MOUNTINFO", WithoutCgroup2())
    with LocalCluster("v1", state=state) as opened:
        opened.deploy(only(server("here")))
        assert opened.facts()["cgroup"] == "v1"
        (process,) = opened.processes
        assert process.cgroup is not None
        assert process.cgroup.is_relative_to(state / "cgroup2")
        assert len(process.pids()) == 1
    assert snapshot() == before


def list_leftovers(state: Path, running: bool = False) -> list[str]:
    """Folders, cgroups and processes under the tag of a state folder; while it is open the top ones are meant to be."""
    name = home.tag(state)
    tree = home.cgroup_tree(state).path
    assert tree is not None
    folders = [
        p for top in Path(tempfile.gettempdir()).glob(f"{name}.*") for p in ([*top.iterdir()] if running else [top])
    ]
    groups = [tree / name / "init"] if running else [tree / name]
    return [str(p) for p in (*folders, *groups) if p.exists()]


HOLD = """
import sys, time
from pathlib import Path
from typing import Any
from lab.cluster.local import LocalCluster
sys.path.insert(0, {tests!r})
from test_cluster_local import layout, only, shell
from lab.cluster import Line, Port
with LocalCluster("held", overlay=True, state=Path({state!r})) as cluster:
    print("opened", flush=True)
    cluster.deploy({layout})
    # A grandchild that nothing kills when the lab dies.
    cluster.run("client", "arm", shell("sleep 600 & echo up; wait", ready=Line("up")))
    print("up", flush=True)
    time.sleep(600)
"""


def hold(state: Path, until: str, deployed: str = "layout()") -> subprocess.Popen[str]:
    script = HOLD.format(tests=str(ROOT / "tests"), state=str(state), layout=deployed)
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    lab = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert lab.stdout is not None
    assert until in (line.strip() for line in lab.stdout)
    return lab


def reap(lab: subprocess.Popen[str]) -> int:
    code = lab.wait(20)
    assert lab.stdout is not None
    lab.stdout.close()
    return code


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A first deployment, so that the kernel modules it needs (and their sysctls) are there before and after."""
    with LocalCluster("first", overlay=True, state=tmp_path_factory.mktemp("state")) as opened:
        opened.deploy(layout())


@pytest.mark.usefixtures("loaded")
def test_the_root_namespace_is_as_before_while_and_after_it_was_open(tmp_path: Path) -> None:
    before = snapshot()
    for overlay in (False, True):
        with LocalCluster("same", overlay=overlay, state=tmp_path / "state") as opened:
            opened.deploy(layout())
            assert snapshot() == before
        assert snapshot() == before
    assert list_leftovers(tmp_path / "state") == []


@pytest.mark.usefixtures("loaded")
def test_after_kill_9_the_cleaner_removes_all_that_is_left(tmp_path: Path) -> None:
    state, before = tmp_path / "state", snapshot()
    lab = hold(state, "up")
    lab.kill()
    reap(lab)
    tree = home.cgroup_tree(state).path
    assert tree is not None
    assert cgroup.members(tree / home.tag(state))  # the grandchild
    removed = clean(state=state)
    assert any("cgroup" in line and "(held; processes: " in line for line in removed)
    assert any(line.startswith("folder") for line in removed)
    assert list_leftovers(state) == []
    assert snapshot() == before
    assert clean(state=state) == ()


def test_the_next_run_clears_away_what_a_killed_one_left(tmp_path: Path) -> None:
    state = tmp_path / "state"
    lab = hold(state, "up")
    lab.kill()
    reap(lab)
    with LocalCluster("held", state=state) as opened:
        opened.deploy(layout())
    assert list_leftovers(state) == []


def test_forced_cleaning_ends_a_live_run(tmp_path: Path) -> None:
    state = tmp_path / "state"
    lab = hold(state, "up")
    with pytest.raises(Mistake, match=rf"run 'held' \(pid {lab.pid}\)"):
        clean(state=state)
    assert f"run 'held' (pid {lab.pid}), ended with SIGTERM" in clean(force=True, state=state)
    assert reap(lab) == -signal.SIGTERM
    assert list_leftovers(state) == []


def test_control_c_in_the_middle_of_a_deployment_leaves_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    lab = hold(state, "opened", "only(shell('sleep 600', ready=Port(9)), init=(shell('sleep 1'),))")
    time.sleep(0.5)
    lab.send_signal(signal.SIGINT)
    assert reap(lab) != 0
    assert list_leftovers(state) == []
    assert not state.exists()


def test_pins_are_removed_from_every_bpf_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, bpffs = tmp_path / "state", tmp_path / "bpf"
    pin = bpffs / home.tag(state) / "arm" / "map"
    pin.parent.mkdir(parents=True)
    pin.touch()
    (bpffs / "others").touch()
    recorded = tmp_path / "mountinfo"
    recorded.write_text(f"33 23 0:29 / {bpffs} rw,relatime shared:11 - bpf bpf rw,mode=700\n")
    monkeypatch.setattr(home, "_MOUNTINFO", recorded)
    assert clean(state=state) == (f"BPF pins {bpffs / home.tag(state)}",)
    assert [p.name for p in bpffs.iterdir()] == ["others"]
