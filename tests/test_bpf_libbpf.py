"""The loader: what the kernel takes, what it refuses and why, and maps as bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpf_mesh import needs

from datapaths.bpf import http, redirect
from datapaths.bpf.libbpf import Object
from datapaths.ebpf import Ebpf
from lab import compile
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


@pytest.mark.parametrize("source", [http.SOURCE, redirect.SOURCE], ids=lambda path: path.name)
def test_the_verifier_takes_every_object(source: Path) -> None:
    with Object(compile.bpf(source, "-mcpu=v3")) as opened:
        opened.load()
        assert all(fd > 0 for fd in opened.programs().values())


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
