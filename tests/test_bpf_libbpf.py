"""The loader: what the kernel takes, what it refuses and why, and maps as bytes."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bpf_mesh import needs

from datapaths.bpf import redirect
from datapaths.bpf.bpffs import BpfFileSystem
from datapaths.bpf.libbpf import Object, Stale
from datapaths.bpf.pins import forget_maps
from datapaths.ebpf import Ebpf
from lab import compile
from lab.cluster import cgroup
from lab.record import Failed, Mistake

pytestmark = needs(Ebpf.needs)

REFUSED = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("cgroup_skb/ingress") int beyond(struct __sk_buff *skb) { return *(int *)(long)skb->data; }
char _license[] SEC("license") = "GPL";
"""


@pytest.fixture
def loaded() -> Iterator[Object]:
    with Object(compile.bpf(redirect.SOURCE, *redirect.FLAGS)) as opened:
        opened.resize("services", 2)
        opened.load()
        yield opened


def test_a_refused_program_is_an_error_with_the_verifier_s_last_words(tmp_path: Path) -> None:
    source = tmp_path / "refused.bpf.c"
    source.write_text(REFUSED)
    with Object(compile.bpf(source)) as opened, pytest.raises(Failed, match="invalid access to packet") as caught:
        opened.load()
    assert len(str(caught.value).splitlines()) <= 13


def test_what_is_no_object_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "text.o"
    path.write_text("text")
    with pytest.raises(Failed, match="no BPF object"):
        Object(path)


def test_a_name_that_is_not_there_is_an_error_that_says_what_is(loaded: Object) -> None:
    with pytest.raises(Mistake, match="no map 'nothing'"):
        loaded.map("nothing")
    with pytest.raises(Mistake, match=r"there are .*redirect"):
        loaded.attach("nothing", Path("/"))


def test_a_folder_that_is_no_cgroup_is_an_error(loaded: Object, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="could not be attached"):
        loaded.attach("redirect", tmp_path)


def test_options_do_not_fit_into_a_smaller_section() -> None:
    with Object(compile.bpf(redirect.SOURCE, *redirect.FLAGS)) as opened, pytest.raises(Mistake, match="8 bytes, 9"):
        opened.set(".rodata.options", bytes(9))


def test_a_map_gives_back_what_was_put_in(loaded: Object) -> None:
    services = loaded.map("services")
    services[b"k" * 8] = b"v" * 4
    services[b"l" * 8] = b"w" * 4
    assert dict(services.items()) == {b"k" * 8: b"v" * 4, b"l" * 8: b"w" * 4}
    del services[b"k" * 8]
    assert list(services) == [b"l" * 8]
    for absent in (lambda: services[b"k" * 8], lambda: services.__delitem__(b"k" * 8)):
        with pytest.raises(KeyError):
            absent()


def test_a_full_map_says_so(loaded: Object) -> None:
    services = loaded.map("services")
    for i in range(2):
        services[bytes([i] * 8)] = bytes(4)
    with pytest.raises(Failed, match="more room"):
        services[bytes([2] * 8)] = bytes(4)


def test_keys_and_values_of_another_size_are_refused(loaded: Object) -> None:
    services = loaded.map("services")
    with pytest.raises(Mistake, match="8 bytes, not 7"):
        services[bytes(7)]
    with pytest.raises(Mistake, match="4 bytes, not 5"):
        services[bytes(8)] = bytes(5)


def test_a_per_cpu_map_has_a_value_for_every_processor(loaded: Object) -> None:
    totals = loaded.map("totals")
    copies = totals.copies(bytes(4))
    assert len(copies) >= len(os.sched_getaffinity(0))
    assert set(copies) == {bytes(8)}


# ---- what outlives a process ----

COUNTER = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct entry { __u64 %(field)s; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, %(room)s); __type(key, __u32);
        __type(value, struct entry); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, __u32); }
        told SEC(".maps");
__u64 step = %(step)s;
SEC("cgroup/sock_create") int created(struct bpf_sock *sk)
{
        __u32 zero = 0;
        struct entry *e = bpf_map_lookup_elem(&counts, &zero);
        if (e)
                __sync_fetch_and_add(&e->%(field)s, %(by)s);
        return bpf_map_lookup_elem(&told, &zero) ? 1 : 1 + (int)(step & 0);
}
char _license[] SEC("license") = "GPL";
"""


@pytest.fixture
def pins() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mesh-lab-test-") as folder:
        system = BpfFileSystem(Path(folder, "pins"))
        yield system.part("counter")
        system.remove()
        assert not Path(folder, "pins").exists()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    """A cgroup that this process is in while the test runs."""
    tree = cgroup.find(Path("/proc/self/mountinfo").read_text(), Path("/nowhere"))
    assert tree.path is not None
    folder = tree.path / f"mesh-lab-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    cgroup.remove(folder)


def counter(tmp_path: Path, pins: Path | None, by: int = 1, **change: Any) -> Object:
    source = tmp_path / f"counter{abs(hash((by, *change.items())))}" / "counter.bpf.c"
    source.parent.mkdir(exist_ok=True)
    version = str(change.pop("version", ""))
    source.write_text(COUNTER % {"field": "hits", "room": 1, "step": by, "by": by, **change})
    opened = Object(compile.bpf(source, "-mcpu=v3"), pins, version, told=("told",))
    opened.load()
    return opened


def sockets(group: Path, number: int) -> None:
    """A child makes so many sockets in the group."""
    code = f"import socket\nfor _ in range({number}): socket.socket().close()"
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    subprocess.run(["sh", "-c", enter, "sh", "python3", "-c", code], check=True)


def hits(opened: Object) -> int:
    return int.from_bytes(opened.map("counts")[bytes(4)], "little")


def test_counts_go_on_while_nobody_holds_them_and_after(tmp_path: Path, pins: Path, group: Path) -> None:
    with counter(tmp_path, pins) as first:
        first.attach("created", group)
        sockets(group, 10)
        assert hits(first) == 10
    sockets(group, 7)
    with counter(tmp_path, pins, by=100) as second:
        assert hits(second) == 17
        sockets(group, 1)
        assert hits(second) == 18  # the former program, until the new one takes its place
        second.attach("created", group)
        sockets(group, 1)
        assert hits(second) == 118


def test_programs_are_swapped_without_a_gap(tmp_path: Path, pins: Path, group: Path) -> None:
    number = 40_000
    code = f"import socket\nfor _ in range({number}): socket.socket().close()"
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    with counter(tmp_path, pins) as first:
        first.attach("created", group)
        child = subprocess.Popen(["sh", "-c", enter, "sh", "python3", "-c", code])
        while child.poll() is None:
            with counter(tmp_path, pins) as following:
                following.attach("created", group)
        assert child.returncode == 0
        assert hits(first) == number


@pytest.mark.parametrize("change", [{"room": 2}, {"field": "misses"}, {"version": "2"}], ids=str)
def test_maps_of_another_layout_are_not_taken_up(
    change: dict[str, Any], tmp_path: Path, pins: Path, group: Path
) -> None:
    with counter(tmp_path, pins) as first:
        first.attach("created", group)
        sockets(group, 3)
    with pytest.raises(Stale, match=r"map counts in .* start with fresh maps"):
        counter(tmp_path, pins, **change)
    with counter(tmp_path, pins) as again:
        assert hits(again) == 3


def test_fresh_maps_begin_with_nothing_and_leave_programs_attached(tmp_path: Path, pins: Path, group: Path) -> None:
    with counter(tmp_path, pins) as first:
        first.attach("created", group)
        links = {p.name for p in pins.iterdir() if p.name.startswith("created@")}
        forget_maps(pins)
        assert links == {p.name for p in pins.iterdir()}
        with counter(tmp_path, pins, field="misses") as second:
            second.attach("created", group)
            sockets(group, 2)
            assert (hits(first), hits(second)) == (0, 2)


def test_a_map_that_has_more_room_than_asked_for_keeps_it(tmp_path: Path, pins: Path) -> None:
    counter(tmp_path, pins, room=4).close()
    with counter(tmp_path, pins, room=2) as opened:
        assert len(list(opened.map("counts"))) == 4


def test_what_an_agent_is_told_is_not_what_the_last_one_was_told(tmp_path: Path, pins: Path) -> None:
    with counter(tmp_path, pins) as first:
        first.map("told")[bytes(4)] = bytes(4)
        assert not (pins / "told").exists()
    with counter(tmp_path, pins) as second:
        assert list(second.map("told")) == []


def test_the_programs_cover_the_cgroups_that_are_named_and_no_others(tmp_path: Path, pins: Path, group: Path) -> None:
    inner = [group / name for name in ("a", "b", "c")]
    for folder in inner:
        folder.mkdir()
    with counter(tmp_path, pins) as first:
        first.cover(inner[:2], ["created"])
    with counter(tmp_path, pins) as second:
        second.cover(inner[1:], ["created"])
        for folder, number in zip(inner, (1, 10, 100), strict=True):
            sockets(folder, number)
        assert hits(second) == 110
        assert sum(p.name.startswith("created@") for p in pins.iterdir()) == 2


def test_without_pins_nothing_is_left_of_a_closed_object(tmp_path: Path, group: Path) -> None:
    with counter(tmp_path, None) as first:
        first.attach("created", group)
        sockets(group, 1)
        shared = first.map("counts")
        with Object(first.path) as second:
            second.share("counts", shared.fd)
            second.load()
            assert hits(second) == 1


def test_only_one_agent_at_a_time_works_with_pins(pins: Path) -> None:
    with pytest.raises(Mistake, match="another agent"):
        BpfFileSystem(pins.parent)


def test_a_folder_that_is_on_no_bpf_file_system_holds_no_pins(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="must be on a BPF file system"):
        counter(tmp_path, tmp_path)


def test_many_entries_are_read_in_batches_and_all_of_them() -> None:
    with Object(compile.bpf(redirect.SOURCE, *redirect.FLAGS)) as opened:
        opened.resize("services", 50_000)
        opened.load()
        services = opened.map("services")
        wanted = {struct.pack("=Q", i): struct.pack("=I", i) for i in range(40_000)}
        services.replace(wanted)
        assert dict(services.items()) == wanted
        assert services.add(struct.pack("=Q", 40_000), bytes(4))
        assert not services.add(struct.pack("=Q", 1), bytes(4))
        assert services[struct.pack("=Q", 1)] == struct.pack("=I", 1)


RINGING = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } records SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); }
        joined SEC(".maps");
SEC("cgroup/sock_create") int created(struct bpf_sock *sk)
{
        __u32 type = sk->type;
        bpf_ringbuf_output(&records, &type, sizeof(type), 0);
        return 1;
}
SEC("sk_msg") int message(struct sk_msg_md *msg)
{
        __u32 size = msg->size;
        bpf_ringbuf_output(&records, &size, sizeof(size), 0);
        return SK_PASS;
}
char _license[] SEC("license") = "GPL";
"""


@pytest.fixture
def ringing(tmp_path: Path) -> Iterator[Object]:
    source = tmp_path / "ringing.bpf.c"
    source.write_text(RINGING)
    with Object(compile.bpf(source, "-mcpu=v3")) as opened:
        opened.load()
        yield opened


def test_a_ring_buffer_s_records_arrive_in_order(ringing: Object, group: Path) -> None:
    read: list[bytes] = []
    ring = ringing.ring("records", read.append)
    ringing.attach("created", group)
    sockets(group, 3)
    assert ring.poll(1) == 3
    assert ring.consume() == 0
    assert read == [struct.pack("=I", socket.SOCK_STREAM)] * 3


def test_what_a_reader_raises_is_raised_where_it_was_asked_to_read(ringing: Object, group: Path) -> None:
    def refuse(record: bytes) -> None:
        raise Mistake(f"{len(record)} bytes")

    ring = ringing.ring("records", refuse)
    ringing.attach("created", group)
    sockets(group, 1)
    with pytest.raises(Mistake, match="4 bytes"):
        ring.consume()


def test_a_message_program_sees_the_sockets_of_its_map(ringing: Object) -> None:
    read: list[bytes] = []
    ring = ringing.ring("records", read.append)
    ringing.attach_map("message", "joined")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            ringing.map("joined")[bytes(4)] = struct.pack("=Q", client.fileno())
            client.send(b"hello")
            assert accepted.recv(10) == b"hello"
    ring.consume()
    assert read == [struct.pack("=I", 5)]
