"""Reading a BPF ring buffer."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from datapaths.bpf.calls import Sample, library, why
from lab.record import Failed


class Ring:
    """Hands every record of a ring buffer to `callback`, in order, when asked to.

    What a callback raises ends the reading and is raised again by `poll` or `consume`; its record is gone.
    """

    def __init__(self, fd: int, name: str, callback: Callable[[bytes], None]) -> None:
        self.name, self._callback, self._error = name, callback, list[BaseException]()
        self._sample = Sample(self._take)  # libbpf keeps a pointer to it
        self._pointer = library().ring_buffer__new(fd, self._sample, None, None)
        if not self._pointer:
            raise Failed(f"{name} cannot be read as a ring buffer: {why()}")
        self.fd = int(library().ring_buffer__epoll_fd(self._pointer))
        """Readable when a record has come, unless the program asked for no wake-up."""

    def poll(self, timeout_s: float) -> int:
        """Wait for a wake-up, then read what there is; how many records that was."""
        return self._done(library().ring_buffer__poll(self._pointer, round(timeout_s * 1000)))

    def consume(self) -> int:
        """Read what there is, without waiting; how many records that was."""
        return self._done(library().ring_buffer__consume(self._pointer))

    def close(self) -> None:
        """Stop reading. Idempotent."""
        if self._pointer:
            library().ring_buffer__free(self._pointer)
            self._pointer = None

    def _take(self, _context: int | None, data: int, size: int) -> int:
        try:
            self._callback(ctypes.string_at(data, size))
        except BaseException as error:  # noqa: BLE001 - it cannot pass through libbpf, and is raised again
            self._error.append(error)
            return -1
        return 0

    def _done(self, result: int) -> int:
        if self._error:
            raise self._error.pop()
        if result < 0:
            raise Failed(f"ring buffer {self.name} could not be read: {why()}")
        return result
