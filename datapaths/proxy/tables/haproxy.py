"""HAProxy with a table of any size: a backend for each cluster, a rule on the host's name for each route."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from datapaths.proxy.tables.envoy import FIRST_LISTENER, PORT, SERVED, endpoint
from lab.cluster import Part, Port, ProcessSpec
from lab.record import CannotRun, Mistake
from lab.subject import Proxy, Table

UID = 1337
_FRAME = """\
global
  nbthread {workers}
  maxconn 8192
defaults
  mode http
  timeout connect 10s
  timeout client 1d
  timeout server 1d
{blocks}
"""


class HAProxy(Proxy):
    """HAProxy, one process; its workers are threads."""

    port = PORT

    def processes(self, table: Table) -> tuple[ProcessSpec, ...]:
        if table.delivery != "static":
            raise Mistake("haproxy cannot be given a table by a control plane; ask for delivery static")
        return (
            ProcessSpec(
                name="haproxy",
                argv=(str(_binary()), "-db", "-f", "{dir}/haproxy.cfg"),
                part=Part.DATAPATH,
                files={"haproxy.cfg": _FRAME.format(workers=table.workers, blocks="\n".join(_blocks(table)))},
                user=UID,
                ready=Port(PORT),
            ),
        )

    def version(self) -> str:
        told = subprocess.run([str(_binary()), "-v"], capture_output=True, text=True, check=True)
        return told.stdout.splitlines()[0]


def _binary() -> Path:
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise CannotRun("haproxy is missing; install it with: apt-get install haproxy")
    return Path(found)


def _blocks(table: Table) -> Iterator[str]:
    yield f"frontend main\n  bind :{PORT}"
    for number in range(table.routes if table.clusters else 0):
        name = f"s{number}.ns"
        yield f"  use_backend c{number % table.clusters} if {{ req.hdr(host) -i {name}.svc.cluster.local {name} }}"
    yield "  default_backend upstream" if table.upstream else "  http-request return status 404"
    if table.upstream:
        yield f"backend upstream\n  server upstream {table.upstream}"
    first = 0
    for number, size in enumerate(table.sizes()):
        yield f"backend c{number}"
        yield from (f"  server e{n} {endpoint(n)}:{SERVED}" for n in range(first, first + size))
        first += size
    for number in range(table.listeners):
        yield f"frontend l{number}\n  bind 127.0.0.1:{FIRST_LISTENER + number}\n  http-request return status 404"
