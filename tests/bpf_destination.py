"""Both ends of connections that are redirected: `python bpf_destination.py proxy|client ADDRESS PORT COUNT`.

The proxy prints what SO_ORIGINAL_DST says of each connection it accepts; the client prints its own
name and its peer's.
"""

from __future__ import annotations

import socket
import struct
import sys

SO_ORIGINAL_DST = 80


def proxy(address: str, port: int, count: int) -> None:
    """Accept so many connections and tell each client what it wanted."""
    listening = socket.create_server((address, port), backlog=128)
    print("ready", flush=True)
    for _ in range(count):
        end, (host, number) = listening.accept()
        with end:
            told = end.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
            family, wanted_port, wanted, zero = struct.unpack("=H2s4s8s", told)
            assert family == socket.AF_INET
            assert not any(zero)
            wanted = f"{socket.inet_ntoa(wanted)}:{int.from_bytes(wanted_port, 'big')}"
            print(f"{host}:{number} {wanted}", flush=True)
            end.sendall(wanted.encode())


def client(address: str, port: int, count: int) -> None:
    """Open so many connections, all at once; print own name, peer's name and the proxy's words of each."""
    ends = [socket.create_connection((address, port)) for _ in range(count)]
    for end in ends:
        with end:
            own, peer = end.getsockname(), end.getpeername()
            print(f"{own[0]}:{own[1]} {peer[0]}:{peer[1]} {end.recv(100).decode()}")


if __name__ == "__main__":
    {"proxy": proxy, "client": client}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
