"""Both ends of connections that are hard on a fast path: `python bpf_splice_ends.py server|client ADDRESS PORT …`.

The server answers each request with the body that it came with, or with as many bytes as `/make/N` asks for; `close` in
the query makes it close afterwards. The client plays one of `PLAYS` and exits with 0 only if every byte was right.
"""

from __future__ import annotations

import array
import fcntl
import os
import random
import socket
import sys
import tempfile
import termios
import threading
import time
from concurrent.futures import ThreadPoolExecutor

SIZES = (0, 1, 1000, 100_000, 100_001, 1_000_000, 3_000_000)
LARGE = 20_000_000
_BLOCK = random.Random(1).randbytes(3_000_001)


def pattern(size: int) -> bytes:
    """Bytes in which a gap, a repetition or an exchange shows."""
    return (_BLOCK * (size // len(_BLOCK) + 1))[:size]


class Lines:
    """A connection's bytes, read message by message."""

    def __init__(self, end: socket.socket) -> None:
        self.end, self.held = end, b""

    def more(self) -> bool:
        data = self.end.recv(1 << 18)
        self.held += data
        return bool(data)

    def message(self) -> tuple[bytes, bytes] | None:
        """First line and body; None: the connection ended before a message."""
        while b"\r\n\r\n" not in self.held:
            if not self.more():
                if self.held:
                    raise ConnectionError("ended within a head")
                return None
        head, _, rest = self.held.partition(b"\r\n\r\n")
        lengths = [int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
        parts, wanted = [rest], sum(lengths)
        missing = wanted - len(rest)
        while missing > 0:
            data = self.end.recv(min(missing, 1 << 18))
            if not data:
                raise ConnectionError(f"{missing} bytes of a body are missing")
            parts.append(data)
            missing -= len(data)
        body = b"".join(parts)
        self.held = body[wanted:]
        return head.split(b"\r\n")[0], body[:wanted]


def serve(address: str, port: int) -> None:
    """Until killed."""
    listening = socket.create_server((address, port), backlog=1024)
    print("ready", flush=True)
    while True:
        end, _ = listening.accept()
        threading.Thread(target=attend, args=(end,), daemon=True).start()


def attend(end: socket.socket) -> None:
    lines = Lines(end)
    with end:
        try:
            while message := lines.message():
                target = message[0].split(b" ")[1]
                body = pattern(int(target.split(b"?")[0][6:])) if target.startswith(b"/make/") else message[1]
                end.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                if target.endswith(b"close"):
                    return
        except OSError:
            return


def post(size: int, path: str = "/echo") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + pattern(size)


def expect(lines: Lines, size: int) -> None:
    message = lines.message()
    assert message is not None, "no answer"
    assert message[1] == pattern(size), f"{len(message[1])} bytes are not the {size} that were asked for"


class Plays:
    """What a client does; each method is one play, and returns the number of requests it sent."""

    def __init__(self, address: str, port: int) -> None:
        self.place = address, port

    def open(self) -> socket.socket:
        end = socket.create_connection(self.place, 20)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return end

    def bodies(self) -> int:
        """Both ways, each size three times on one connection."""
        with self.open() as end:
            lines = Lines(end)
            for size in SIZES * 3:
                sender = threading.Thread(target=end.sendall, args=(post(size),))
                sender.start()
                expect(lines, size)
                sender.join()
        return 3 * len(SIZES)

    def narrow(self) -> int:
        """A small send buffer and no waiting: the kernel takes messages in parts."""
        with self.open() as end:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            lines = Lines(end)
            for size in SIZES[:-1]:
                sender = threading.Thread(target=self._bit_by_bit, args=(end, post(size)))
                sender.start()
                expect(lines, size)
                sender.join()
        return len(SIZES) - 1

    def _bit_by_bit(self, end: socket.socket, data: bytes) -> None:
        while data:
            try:
                data = data[end.send(data, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                time.sleep(0.0001)

    def sendfile(self) -> int:
        """A head by send, a body by sendfile."""
        with self.open() as end, tempfile.TemporaryFile() as file:
            for size in (10_000, 100_000, 900_000):
                file.seek(0)
                file.write(pattern(size))
                file.flush()
                end.sendall(post(size)[:-size])
                offset = 0
                while offset < size:
                    offset += os.sendfile(end.fileno(), file.fileno(), offset, size - offset)
                expect(Lines(end), size)
        return 3

    def pieces(self) -> int:
        """A head in pieces of one byte, without a pause."""
        with self.open() as end:
            for byte in post(100):
                end.send(bytes([byte]))
            expect(Lines(end), 100)
        return 1

    def half_close(self) -> int:
        """Nothing more is sent, and everything is still answered."""
        with self.open() as end:
            end.sendall(post(100_000) + post(10))
            end.shutdown(socket.SHUT_WR)
            lines = Lines(end)
            expect(lines, 100_000)
            expect(lines, 10)
            assert lines.message() is None
        return 2

    def server_closes(self) -> int:
        """A large answer, and the server closes behind it."""
        for size in (10, 100_000, 3_000_000):
            with self.open() as end:
                end.sendall(post(0, f"/make/{size}?close"))
                lines = Lines(end)
                expect(lines, size)
                assert lines.message() is None
        return 3

    def early_close(self) -> int:
        """A hundred clients that do not wait for their answers."""
        for size in (10, 1_000_000) * 50:
            with self.open() as end:
                end.sendall(post(0, f"/make/{size}"))
        return 100

    def slow(self) -> int:
        """An answer that is far larger than the reader is quick."""
        with self.open() as end:
            end.sendall(post(0, f"/make/{LARGE}") + post(10))
            time.sleep(0.5)
            lines = Lines(end)
            expect(lines, LARGE)
            expect(lines, 10)
        return 2

    def many(self) -> int:
        """10,000 connections of one request each, some at once."""

        def one(_: int) -> None:
            with self.open() as end:
                end.sendall(post(20))
                expect(Lines(end), 20)

        with ThreadPoolExecutor(8) as workers:
            list(workers.map(one, range(10_000)))
        return 10_000

    def waiting_bytes(self) -> int:
        """FIONREAD tells what recv would give."""
        with self.open() as end:
            end.sendall(post(1000))
            time.sleep(0.2)
            waits = array.array("i", [0])
            fcntl.ioctl(end, termios.FIONREAD, waits)
            lines = Lines(end)
            expect(lines, 1000)
            assert waits[0] == len(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n") + 1000, waits[0]
        return 1

    def lasting(self) -> int:
        """A request, a pause until the word `on`, and more requests on the same connection."""
        with self.open() as end:
            lines = Lines(end)
            end.sendall(post(1000))
            expect(lines, 1000)
            print("paused", flush=True)
            sys.stdin.readline()
            for size in (10, 100_000, 1000):
                end.sendall(post(size, "/echo/on"))
                expect(lines, size)
        return 4


def main(role: str, address: str, port: str, *plays: str) -> None:
    if role == "server":
        serve(address, int(port))
    for play in plays:
        print(play, getattr(Plays(address, int(port)), play)(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
