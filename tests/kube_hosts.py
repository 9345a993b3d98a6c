"""What /proc says on nodes of several kinds: recordings that people have published and two of our own, cut short.

`mountinfo` is the agent's own, whose container was given the node's /sys/fs/cgroup; `{top}` stands where a test builds
the tree. `processes` are texts of /proc/PID/cgroup as the agent reads them. Ids are shortened nowhere: their length is
part of what must be understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """One node: what an agent on it reads. `folder`, `inner`: the pod's and its container's own."""

    source: str
    mountinfo: str
    processes: Mapping[int, str]
    uid: str
    container: str
    folder: str | None
    inner: str | None
    members: tuple[int, ...]


_HYBRID = """\
30 24 0:26 / {top}/sys/fs/cgroup ro,nosuid,nodev,noexec shared:26 - tmpfs tmpfs ro,size=4096k,mode=755,inode64
31 30 0:27 / {top}/sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:27 - cgroup2 cgroup2 rw
32 30 0:28 / {top}/sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:28 - cgroup cgroup rw,xattr,name=systemd
36 30 0:32 / {top}/sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime shared:29 - cgroup cgroup rw,pids
37 30 0:33 / {top}/sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:30 - cgroup cgroup rw,cpu,cpuacct
"""
_V2 = "28 23 0:25 / {top}/sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup2 rw,nsdelegate\n"

_CGROUPFS = "/kubepods/besteffort/pod4eede96e-e976-4573-bc90-68dfe2516d3b/"
_CGROUPFS_ID = "c3cd4e0a7993a1c155cc1bdd3326c7b1e260226d0c2c79e3e48dbc360543c768"
_SYSTEMD = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pode1465238_4518_4c21_832f_fd9f87033dad.slice"
_SYSTEMD_ID = "66be9b2efdf4d85288c319b8c1a2f50d2439b5617e36f45d9d0d0be1381113be"
_CRIO = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod35550f44_f691_427e_b57d_ab6127d2cb65.slice"
_CRIO_ID = "805b902ed98fdc1409c76e9aa94964787a904c80f46fc3ee74283509108f5e73"
_KIND_NODE = "/system.slice/docker-fd9d0ea06257a9780827cbc7fd92e3812a54fca26d63e191b73610d5d48b9cbd.scope"
_KIND = (
    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
    "kubelet-kubepods-besteffort-podeab5a334_93fe_48a8_b139_9e8079c1f163.slice"
)
_KIND_ID = "99f3a16ea25b7724cb56a4f0c0df1113ad9474fbf5545bead97fd5c7f61c13f4"
_MISFIT = "kubepods-besteffort-pod0125ec2f_b64a_4868_8f5b_94b56cbab864.slice:cri-containerd"
_MISFIT_ID = "ee4b20e90ac7f42a10bd004d05646b13d8ab5e2c5e7cbc01abf8006bac016459"

_NODE = """\
509 502 0:52 / {top}/sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
513 509 0:32 / {top}/sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
517 509 0:36 / {top}/sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
518 509 0:37 / {top}/sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""
_NODE_V2 = "519 509 0:38 / {top}/sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
_BURSTABLE = "/kubelet/kubepods/burstable/podf20c2516-2e30-4f15-9d8a-23287e4e0eaf"
_BURSTABLE_ID = "b78c24ca6d145d19f1ea9a868d22603d3969824113ff720bc9344dcfca996174"
_OTHER = "/kubelet/kubepods/burstable/pod8eba9386-6ebb-4a76-beae-caf99e63632c"
_OTHER_ID = "e248001c29eea538fb703c07f6ef8ffcd0c474acf9dc22761692d3f58d28ab99"
_LIVE = "an agent's pod on Kubernetes 1.33.13, containerd 1.6.20, runc 1.1.5, Linux 6.18, in a node that is a container"

HOSTS = {
    "v2, containerd, systemd driver": Host(
        source="names: github.com/netdata/netdata issue 4868; mounts: Debian 12",
        mountinfo=_V2,
        processes={
            1: "0::/init.scope\n",
            700: "0::/system.slice/containerd.service\n",
            4100: f"0::{_SYSTEMD}/cri-containerd-{_SYSTEMD_ID}.scope\n",
            4101: f"0::{_SYSTEMD}/cri-containerd-{_SYSTEMD_ID[::-1]}.scope\n",
        },
        uid="e1465238-4518-4c21-832f-fd9f87033dad",
        container=_SYSTEMD_ID,
        folder=f"sys/fs/cgroup{_SYSTEMD}",
        inner=f"sys/fs/cgroup{_SYSTEMD}/cri-containerd-{_SYSTEMD_ID}.scope",
        members=(4100,),
    ),
    "hybrid, containerd, systemd driver": Host(
        source="both: github.com/netdata/netdata issue 4868 (the runtime's unit is in the v2 tree, too)",
        mountinfo=_HYBRID,
        processes={
            1: "4:pids:/init.scope\n1:name=systemd:/init.scope\n0::/init.scope\n",
            4100: "".join(f"{k}{_SYSTEMD}/cri-containerd-{_SYSTEMD_ID}.scope\n" for k in ("4:pids:", "0::")),
        },
        uid="e1465238-4518-4c21-832f-fd9f87033dad",
        container=_SYSTEMD_ID,
        folder=f"sys/fs/cgroup/unified{_SYSTEMD}",
        inner=f"sys/fs/cgroup/unified{_SYSTEMD}/cri-containerd-{_SYSTEMD_ID}.scope",
        members=(4100,),
    ),
    "v2, CRI-O, systemd driver": Host(
        source="paths: github.com/containerd/nri pull 227 (OpenShift); conmon beside it as CRI-O's documentation says",
        mountinfo=_V2,
        processes={
            4100: f"0::{_CRIO}/crio-{_CRIO_ID}.scope\n",
            4102: f"0::{_CRIO}/crio-{_CRIO_ID}.scope\n",
            4090: f"0::{_CRIO}/crio-conmon-{_CRIO_ID}.scope\n",
        },
        uid="35550f44-f691-427e-b57d-ab6127d2cb65",
        container=_CRIO_ID,
        folder=f"sys/fs/cgroup{_CRIO}",
        inner=f"sys/fs/cgroup{_CRIO}/crio-{_CRIO_ID}.scope",
        members=(4100, 4102),
    ),
    "v2, kind, seen from the node's own namespace": Host(
        source="path: github.com/sustainable-computing-io/kepler pull 2119, less the node's own part",
        mountinfo=_V2,
        processes={4100: f"0::{_KIND}/cri-containerd-{_KIND_ID}.scope\n", 30: "0::/kubelet.slice/kubelet.service\n"},
        uid="eab5a334-93fe-48a8-b139-9e8079c1f163",
        container=_KIND_ID,
        folder=f"sys/fs/cgroup{_KIND}",
        inner=f"sys/fs/cgroup{_KIND}/cri-containerd-{_KIND_ID}.scope",
        members=(4100,),
    ),
    "v2, kind, seen with the machine's tree": Host(
        source="path: github.com/sustainable-computing-io/kepler pull 2119",
        mountinfo=_V2,
        processes={4100: f"0::{_KIND_NODE}{_KIND}/cri-containerd-{_KIND_ID}.scope\n"},
        uid="eab5a334-93fe-48a8-b139-9e8079c1f163",
        container=_KIND_ID,
        folder=f"sys/fs/cgroup{_KIND_NODE}{_KIND}",
        inner=f"sys/fs/cgroup{_KIND_NODE}{_KIND}/cri-containerd-{_KIND_ID}.scope",
        members=(4100,),
    ),
    "v2, seen from an agent's own cgroup namespace": Host(
        source="names: netdata issue 4868; `/..` as cgroup_namespaces(7) has it",
        mountinfo=_V2.replace("0:25 / ", "0:25 /../../../.. "),
        processes={
            4100: "0::/../../../kubepods-besteffort.slice/kubepods-besteffort-pode1465238_4518_4c21_832f_fd9f87033dad"
            f".slice/cri-containerd-{_SYSTEMD_ID}.scope\n",
            4200: "0::/\n",
        },
        uid="e1465238-4518-4c21-832f-fd9f87033dad",
        container=_SYSTEMD_ID,
        folder=f"sys/fs/cgroup{_SYSTEMD}",
        inner=f"sys/fs/cgroup{_SYSTEMD}/cri-containerd-{_SYSTEMD_ID}.scope",
        members=(4100,),
    ),
    "v2, containerd, cgroupfs driver": Host(
        source="path: github.com/peass-ng/PEASS-ng pull 124, as one hierarchy",
        mountinfo=_V2,
        processes={4100: f"0::{_CGROUPFS}{_CGROUPFS_ID}\n"},
        uid="4eede96e-e976-4573-bc90-68dfe2516d3b",
        container=_CGROUPFS_ID,
        folder=f"sys/fs/cgroup{_CGROUPFS}".rstrip("/"),
        inner=f"sys/fs/cgroup{_CGROUPFS}{_CGROUPFS_ID}",
        members=(4100,),
    ),
    "hybrid, containerd, cgroupfs driver": Host(
        source="github.com/peass-ng/PEASS-ng pull 124; mounts: podman-container-tools/podman issue 23925",
        mountinfo=_HYBRID,
        processes={
            4100: f"4:pids:{_CGROUPFS}{_CGROUPFS_ID}\n1:name=systemd:{_CGROUPFS}{_CGROUPFS_ID}\n"
            "0::/system.slice/containerd.service\n",
            700: "4:pids:/system.slice/containerd.service\n0::/system.slice/containerd.service\n",
        },
        uid="4eede96e-e976-4573-bc90-68dfe2516d3b",
        container=_CGROUPFS_ID,
        folder=None,
        inner=None,
        members=(4100,),
    ),
    "v1, a systemd name below a cgroupfs driver": Host(
        source="github.com/open-telemetry/opentelemetry-java issue 4507",
        mountinfo=_HYBRID,
        processes={
            4100: f"11:perf_event:/{_MISFIT}:{_MISFIT_ID}\n"
            f"10:blkio:/system.slice/containerd.service/{_MISFIT}:{_MISFIT_ID}\n0::/\n",
        },
        uid="0125ec2f-b64a-4868-8f5b-94b56cbab864",
        container=_MISFIT_ID,
        folder=None,
        inner=None,
        members=(4100,),
    ),
    "v1, kind-like node in Docker with CRI-O": Host(
        source="github.com/kubernetes/minikube issue 11280",
        mountinfo=_HYBRID,
        processes={
            4239: "9:pids:/docker/d6701ec289c56e4391acb11d07474b3139466857a305490575508a8b7a9fcf22/kubepods.slice/"
            "kubepods-besteffort.slice/kubepods-besteffort-pod2ca4a155_3599_498d_bb9d_4446693fa3ea.slice/"
            "crio-358607a37e7ada357032e7f5729c9ae6a3efdb7962acbcbe47ff6a3c5506cb1c.scope\n"
            "0::/docker/d6701ec289c56e4391acb11d07474b3139466857a305490575508a8b7a9fcf22/system.slice/crio.service\n",
        },
        uid="2ca4a155-3599-498d-bb9d-4446693fa3ea",
        container="358607a37e7ada357032e7f5729c9ae6a3efdb7962acbcbe47ff6a3c5506cb1c",
        folder=None,
        inner=None,
        members=(4239,),
    ),
    "hybrid, a node in namespaces of its own that has v2 mounted": Host(
        source=_LIVE,
        mountinfo=_NODE + _NODE_V2,
        processes={
            1: "9:name=systemd:/\n8:pids:/\n0::/\n",
            80677: f"9:name=systemd:{_BURSTABLE}/{_BURSTABLE_ID}\n8:pids:{_BURSTABLE}/{_BURSTABLE_ID}\n"
            f"0::{_BURSTABLE}/{_BURSTABLE_ID}\n",
            80750: f"9:name=systemd:{_OTHER}/{_OTHER_ID}\n8:pids:{_OTHER}/{_OTHER_ID}\n0::{_OTHER}/{_OTHER_ID}\n",
        },
        uid="f20c2516-2e30-4f15-9d8a-23287e4e0eaf",
        container=_BURSTABLE_ID,
        folder=f"sys/fs/cgroup/unified{_BURSTABLE}",
        inner=f"sys/fs/cgroup/unified{_BURSTABLE}/{_BURSTABLE_ID}",
        members=(80677,),
    ),
    "hybrid, a node in namespaces of its own that has no v2 mounted": Host(
        source=_LIVE,
        mountinfo=_NODE,
        processes={
            1: "9:name=systemd:/\n8:pids:/\n0::/\n",
            80677: f"9:name=systemd:{_BURSTABLE}/{_BURSTABLE_ID}\n8:pids:{_BURSTABLE}/{_BURSTABLE_ID}\n0::/\n",
            80750: f"9:name=systemd:{_OTHER}/{_OTHER_ID}\n8:pids:{_OTHER}/{_OTHER_ID}\n0::/\n",
        },
        uid="f20c2516-2e30-4f15-9d8a-23287e4e0eaf",
        container=_BURSTABLE_ID,
        folder=None,
        inner=None,
        members=(80677,),
    ),
}
