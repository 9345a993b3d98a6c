"""Finding the cgroup v2 tree: recorded mountinfo of the three kinds of hosts."""

from pathlib import Path

from lab.cluster import cgroup
from lab.cluster.cgroup import Mode, Tree

OWN = Path("/run/mesh-lab/cgroup2")

V2 = """\
22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
24 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
31 23 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
33 23 0:29 / /sys/fs/bpf rw,nosuid,nodev,noexec,relatime shared:11 - bpf bpf rw,mode=700
"""

HYBRID = """\
24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 24 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
32 31 0:27 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:10 - cgroup2 cgroup rw,nsdelegate
33 31 0:28 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:11 - cgroup cgroup rw,xattr,name=systemd
36 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct
"""

V1 = """\
62 0 253:0 / / rw,relatime shared:1 - xfs /dev/mapper/centos-root rw,attr2,inode64,noquota
24 17 0:20 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:8 - tmpfs tmpfs ro,mode=755
25 24 0:21 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:9 - cgroup cgroup rw,xattr,name=systemd
29 24 0:25 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:13 - cgroup cgroup rw,memory
"""


def test_a_v2_host_has_its_tree_at_the_top() -> None:
    assert cgroup.find(V2, OWN) == Tree(Mode.V2, Path("/sys/fs/cgroup"))


def test_a_hybrid_host_has_its_tree_beside_the_controllers() -> None:
    assert cgroup.find(HYBRID, OWN) == Tree(Mode.HYBRID, Path("/sys/fs/cgroup/unified"))


def test_a_v1_host_has_no_tree() -> None:
    assert cgroup.find(V1, OWN) == Tree(Mode.V1, None)


def test_a_tree_that_the_lab_mounted_does_not_make_a_v1_host_hybrid() -> None:
    left_behind = f"70 62 0:40 / {OWN} rw,relatime - cgroup2 none rw\n"
    assert cgroup.find(V1 + left_behind, OWN) == Tree(Mode.V1, None)


def test_a_tree_that_may_only_be_read_is_no_tree() -> None:
    assert cgroup.find(V2.replace("/sys/fs/cgroup rw,", "/sys/fs/cgroup ro,"), OWN).path is None


def test_the_mount_of_the_whole_hierarchy_is_preferred_to_a_part_of_it() -> None:
    part = "60 24 0:27 /user.slice /mnt/part rw,relatime - cgroup2 cgroup2 rw\n"
    assert cgroup.find(part + V2, OWN).path == Path("/sys/fs/cgroup")


def test_mount_points_with_spaces_are_understood() -> None:
    odd = "60 24 0:27 / /mnt/a\\040b rw,relatime shared:3 master:2 - cgroup2 cgroup2 rw\n"
    assert cgroup.find(odd, OWN).path == Path("/mnt/a b")


def test_a_cgroup_that_is_gone_holds_nobody_and_can_be_removed_again(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    cgroup.remove(gone)
    assert cgroup.members(gone) == ()
