"""As much of libbpf as an agent needs: load an object, attach it to cgroups and maps, read and write its maps.

Without pins, everything goes with the process, however it ends. With a folder of a BPF file system (`pins`), maps and
attachments stay there. An object that is loaded over them goes on with the maps' contents, and each of its programs
takes the place of its predecessor in one step.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from datapaths.bpf.calls import last_words, library, listen, why
from datapaths.bpf.closing import Closing
from datapaths.bpf.layout import layout
from datapaths.bpf.map import Map
from datapaths.bpf.pins import Pins, Stale
from datapaths.bpf.ring import Ring
from lab.record import Failed, Mistake

__all__ = ["Map", "Object", "Ring", "Stale"]

_NO_LINKS = (errno.EINVAL, errno.EOPNOTSUPP)  # of kernels before 6.10 for a sockmap


class Object(Closing):
    """A compiled BPF object: opened, set up, loaded, attached; a context manager that closes it.

    `version` tells layouts apart that look alike in C; see `datapaths.bpf.layout`. `told` names maps that are not
    pinned: what an agent is told goes into maps of its own before its programs replace their predecessors.
    """

    def __init__(self, path: Path, pins: Path | None = None, version: str = "", told: Iterable[str] = ()) -> None:
        self.path, self.version, self.told = path, version, frozenset(told)
        self._pins = Pins(pins) if pins else None
        self._links, self._rings, self._shared = dict[str, int](), list[Ring](), set[int]()
        listen()
        self._pointer = library().bpf_object__open(os.fsencode(path))
        if not self._pointer:
            raise Failed(f"{path.name} is no BPF object: {why()}{last_words()}")

    def set(self, section: str, values: bytes) -> None:
        """Overwrite the start of a data section such as `.rodata.options`; before loading."""
        size = ctypes.c_size_t()
        start = library().bpf_map__initial_value(self._map(section), ctypes.byref(size))
        if not start or len(values) > size.value:
            raise Mistake(f"{section} of {self.path.name} has {size.value} bytes, {len(values)} were given")
        ctypes.memmove(start, values, len(values))

    def resize(self, name: str, entries: int) -> None:
        """Give a map room for so many entries; before loading. A pinned map that has more keeps it."""
        if library().bpf_map__set_max_entries(self._map(name), entries):
            raise Failed(f"map {name} cannot hold {entries} entries: {why()}")

    def share(self, name: str, fd: int) -> None:
        """Use another object's map (`Map.fd`) in place of its own; before loading. It is the other's to pin."""
        pointer = self._map(name)
        if library().bpf_map__reuse_fd(pointer, fd):
            raise Failed(f"map {name} of {self.path.name} cannot be shared: {why()}")
        self._shared.add(pointer)

    def skip(self, program: str) -> None:
        """Leave a program out; before loading."""
        library().bpf_program__set_autoload(self._program(program), False)

    def load(self) -> None:
        """Create its maps, or take up pinned ones, and have its programs verified.

        `Failed` carries the verifier's last words; `Stale` says which pinned map does not fit.
        """
        listen()
        made = list(self._take_up(self._pins)) if self._pins else []
        if library().bpf_object__load(self._pointer):
            raise Failed(f"the kernel refused {self.path.name}: {why()}{last_words()}")
        if self._pins:
            for name, pointer, found in made:
                self._pins.keep_map(int(library().bpf_map__fd(pointer)), name, found)

    def attach(self, program: str, cgroup: Path) -> None:
        """Attach a program, by its section's type, to a cgroup v2 folder and so to every process in and below it."""
        pointer = self._program(program)
        folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
        try:
            kind = int(library().bpf_program__expected_attach_type(pointer))
            self._link(
                f"{program}@{os.fstat(folder).st_ino}",
                pointer,
                lambda fd: int(library().bpf_link_create(fd, folder, kind, None)),
                cgroup,
            )
        finally:
            os.close(folder)

    def attach_map(self, program: str, name: str) -> None:
        """Attach an sk_msg or sk_skb program to a sockmap; after loading.

        Sockets that are in the map already keep the program they came in with. By a link where the kernel has them for
        sockmaps (6.10), else for as long as the map lives.
        """
        pointer, target = self._program(program), self.map(name).fd
        kind = int(library().bpf_program__expected_attach_type(pointer))

        def make(fd: int) -> int:
            link = int(library().bpf_link_create(fd, target, kind, None))
            if link < 0 and ctypes.get_errno() in _NO_LINKS and not library().bpf_prog_attach(fd, target, kind, 0):
                return 0  # nothing to hold: the map holds it
            return link

        self._link(f"{program}@{name}", pointer, make, f"map {name}")

    def cover(self, cgroups: Iterable[Path], programs: Iterable[str]) -> None:
        """Attach the programs to exactly these cgroups: attach what is missing, detach what is no longer named."""
        names, wanted = tuple(programs), set[str]()
        for cgroup in cgroups:
            for program in names:
                self.attach(program, cgroup)
                wanted.add(f"{program}@{cgroup.stat().st_ino}")
        pinned = self._pins.names() if self._pins else set()
        for key in (pinned | self._links.keys()) - wanted:
            if re.fullmatch(rf"({'|'.join(names)})@\d+", key):
                self._detach(key)

    def map(self, name: str) -> Map:
        """A map by its name in the source; after loading."""
        return Map(self._map(name), name)

    def ring(self, name: str, callback: Callable[[bytes], None]) -> Ring:
        """A reader of a ring buffer; after loading. Closed with the object."""
        self._rings.append(Ring(self.map(name).fd, name, callback))
        return self._rings[-1]

    def programs(self) -> dict[str, int]:
        """Its programs' file descriptors by name."""
        return {
            library().bpf_program__name(program).decode(): int(library().bpf_program__fd(program))
            for program in self._each("program")
        }

    def close(self) -> None:
        """Detach and forget everything but what is pinned. Idempotent."""
        while self._rings:
            self._rings.pop().close()
        for link in filter(None, self._links.values()):
            os.close(link)
        self._links.clear()
        if self._pointer:
            library().bpf_object__close(self._pointer)
            self._pointer = None

    def _link(self, key: str, program: int, make: Callable[[int], int], target: object) -> None:
        """Hold an attachment: this process's own, a pinned one whose program is replaced, or a new one."""
        if key in self._links:
            return
        fd = int(library().bpf_program__fd(program))
        link = self._pins.link(key, fd) if self._pins else None
        if link is None:
            link = make(fd)
            if link < 0:
                name = f"{key.partition('@')[0]} of {self.path.name}"
                raise Failed(f"{name} could not be attached to {target}: {why()}{last_words()}")
            if self._pins and link:
                self._pins.keep(link, key)
        self._links[key] = link

    def _detach(self, key: str) -> None:
        if link := self._links.pop(key, 0):
            os.close(link)
        if self._pins:
            self._pins.drop(key)

    def _to_pin(self) -> Iterator[tuple[str, int]]:
        """File names and maps: all but constants and others' maps. libbpf calls data after the object's file."""
        for pointer in self._each("map"):
            name = library().bpf_map__name(pointer).decode()
            if library().bpf_map__is_internal(pointer):
                section = re.search(r"\.(bss|data)\b.*", name)
                name = f"{self.path.name.split('.')[0]}{section[0].replace('.', '_')}" if section else ""
            if name and name not in self.told and pointer not in self._shared:
                yield name, pointer

    def _take_up(self, pins: Pins) -> Iterator[tuple[str, int, str]]:
        """Use the maps that are pinned; gives the others, with layouts: loading makes libbpf forget sockmaps' types."""
        for name, pointer in self._to_pin():
            found = self._layout(pointer)
            fd = pins.map(name, found, library().bpf_map__max_entries(pointer))
            if fd is None:
                yield name, pointer, found
                continue
            failed = library().bpf_map__reuse_fd(pointer, fd)
            os.close(fd)  # libbpf has made one of its own
            if failed:
                raise Failed(f"map {name} in {pins.folder} cannot be taken up: {why()}")

    def _layout(self, pointer: int) -> str:
        return layout(library().bpf_object__btf(self._pointer), pointer, self.version)

    def _each(self, what: str) -> Iterator[int]:
        following = getattr(library(), f"bpf_object__next_{what}")
        found = following(self._pointer, None)
        while found:
            yield int(found)
            found = following(self._pointer, found)

    def _map(self, name: str) -> int:
        pointer = library().bpf_object__find_map_by_name(self._pointer, name.encode())
        if not pointer:
            raise Mistake(f"{self.path.name} has no map {name!r}")
        return int(pointer)

    def _program(self, name: str) -> int:
        pointer = library().bpf_object__find_program_by_name(self._pointer, name.encode())
        if not pointer:
            raise Mistake(f"{self.path.name} has no program {name!r}; there are {', '.join(self.programs())}")
        return int(pointer)
