"""Programs for meters to watch, run as `python meter_children.py <name> <arguments>`, and pods to run them in."""

from __future__ import annotations

import asyncio
import mmap
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.cluster import Layout, Line, Part, PodSpec, Process, ProcessSpec, ServiceSpec
from lab.cluster.local import LocalCluster
from lab.compile import ROOT
from lab.record import Block, BlockKind, Load, Window

PORT, RELAY_PORT = 8080, 9090
WINDOW = Window(index=0, round=0, arm="a", start_s=0.0, duration_s=0.2)


def block(kind: BlockKind) -> Block:
    return Block("watched", kind, Load(rate_per_s=100, connections=4), (WINDOW,))


def child(name: str, *arguments: object, part: Part = Part.APP) -> ProcessSpec:
    argv = (sys.executable, str(Path(__file__).resolve()), name, *map(str, arguments))
    return ProcessSpec(name, argv, part, env={"PYTHONPATH": str(ROOT)}, ready=Line("ready"))


@contextmanager
def two_pods(state: Path, *beside_server: ProcessSpec) -> Iterator[LocalCluster]:
    """Arm `a` with a client's and a server's pod on two nodes; a skip where this machine cannot."""
    if os.geteuid():
        pytest.skip("namespaces and cgroups need root")
    if shutil.which("nft") is None:
        pytest.skip("nft is missing")
    pods = (PodSpec("a-client", 0, "a", "client"), PodSpec("a-server", 1, "a", "server", beside_server))
    with LocalCluster("test-meter", state=state) as cluster:
        cluster.deploy(Layout(pods, (ServiceSpec("a-server", "a", PORT, ("a-server",)),)))
        yield cluster


def stop(*processes: Process) -> None:
    for process in processes:
        process.tell("stop")
        assert process.wait(5) == 0


def burn(seconds: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    until = time.process_time() + float(seconds)
    while time.process_time() < until:
        os.getppid()
    print("burnt", flush=True)
    sys.stdin.readline()


def keep(size: str, shared: str = "") -> None:
    """So many bytes of its own, and a file's pages, which it reads and shares with whoever maps them too."""
    held = bytearray(os.urandom(4096) * (int(size) // 4096))
    mapped = mmap.mmap(os.open(shared, os.O_RDONLY), 0, prot=mmap.PROT_READ) if shared else b""
    touched = sum(mapped[::4096])
    print("ready", flush=True)
    sys.stdin.readline()
    del held, mapped, touched


async def serve() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    await asyncio.start_server(answer, "0.0.0.0", PORT, backlog=1024)
    await _until_told()


async def relay(host: str) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(host, PORT)
        await asyncio.gather(pump(reader, onward), pump(there, writer))

    await asyncio.start_server(forward, "0.0.0.0", RELAY_PORT, backlog=1024)
    await _until_told()


async def dial(host: str, port: str, count: str) -> None:
    links = [await asyncio.open_connection(host, int(port)) for _ in range(int(count))]
    for reader, writer in links:
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"  # every hop has accepted
    await _until_told()
    for _, writer in links:
        writer.close()


async def _until_told() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    result = globals()[sys.argv[1]](*sys.argv[2:])
    if asyncio.iscoroutine(result):
        asyncio.run(result)
    os._exit(0)
