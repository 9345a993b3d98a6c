"""A door from this machine's loopback into a pod, for as long as it is open: Locust's pages are inside the pod.

The pod's network cannot be reached from outside, which is what keeps a run to itself. So the lab opens a listening
socket on 127.0.0.1 and hands it to a small process that then enters the pod's network namespace (a socket stays in the
namespace it was made in) and becomes nobody. Whoever connects is led to the pod's own loopback. Nothing else listens.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from types import TracebackType

from lab.cluster import Cluster
from lab.compile import ROOT
from lab.record import CannotRun, Mistake

LOOPBACK = "127.0.0.1"
NOBODY = 65534
CHUNK = 1 << 16
PATIENCE_S = 5.0


class Doorway:
    """A context manager: 127.0.0.1:`port` of this machine leads to 127.0.0.1:`inner` of pod `where`.

    `Mistake` where the port is taken; `CannotRun` on a cluster whose pods are not namespaces of this machine.
    """

    def __init__(self, cluster: Cluster, where: str, port: int, inner: int) -> None:
        self._cluster, self._where, self.port, self._inner = cluster, where, port, inner
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Doorway:
        inside = getattr(self._cluster, "inside", None)
        if inside is None:
            raise CannotRun(
                f"Locust's pages cannot be shown from a {self._cluster.kind} cluster; use --cluster local, or"
                f" kubectl port-forward {self._where} {self._inner}"
            )
        with socket.socket() as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                door.bind((LOOPBACK, self.port))
            except OSError as error:
                raise Mistake(f"--web-ui {self.port}: {error.strerror}; give another port") from None
            door.listen()
            self.port = door.getsockname()[1]
            space = inside(self._where)
            enter = ("nsenter", f"--net={space.path}", "--")
            drop = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")
            lead = (sys.executable, "-m", "lab.journey.doorway", str(door.fileno()), str(self._inner))
            self._process = subprocess.Popen(
                [*enter, *drop, "--pdeathsig=KILL", *READ, "--", *lead],
                pass_fds=[door.fileno()],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


# A clone below a private home holds Python's own modules, which nobody may read: as for processes of a pod.
READ = tuple(f"--{which}=-all,+dac_read_search" for which in ("inh-caps", "ambient-caps", "bounding-set"))


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Bytes one way, until either end is closed."""
    try:
        while chunk := await source.read(CHUNK):
            sink.write(chunk)
            await sink.drain()
    except OSError:
        pass  # one of them has gone: so does the other
    finally:
        sink.close()


async def _serve(door: socket.socket, inner: int) -> None:
    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, inner)
        except OSError:
            writer.close()  # the pages are not there yet, or not any more
            return
        await asyncio.gather(_carry(reader, inner_writer), _carry(inner_reader, writer))

    server = await asyncio.start_server(lead, sock=door)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
