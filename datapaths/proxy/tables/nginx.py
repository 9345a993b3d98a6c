"""nginx with a table of any size: an upstream for each cluster, a server with its names for each route."""

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
daemon off;
worker_processes {workers};
pid {{dir}}/nginx.pid;
lock_file {{dir}}/nginx.lock;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {{dir}}/body;
  proxy_temp_path {{dir}}/proxy;
  fastcgi_temp_path {{dir}}/fastcgi;
  uwsgi_temp_path {{dir}}/uwsgi;
  scgi_temp_path {{dir}}/scgi;
  keepalive_timeout 1d;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  server_names_hash_max_size 16384;
  server_names_hash_bucket_size 128;
{blocks}
}}
"""


class Nginx(Proxy):
    """nginx with its workers as processes of their own: what they share counts once in PSS."""

    port = PORT

    def processes(self, table: Table) -> tuple[ProcessSpec, ...]:
        if table.delivery != "static":
            raise Mistake("nginx cannot be given a table by a control plane; ask for delivery static")
        if table.clusters > table.endpoints:
            raise Mistake(
                f"clusters={table.clusters} and endpoints={table.endpoints}; nginx needs one in every cluster"
            )
        text = _FRAME.format(workers=table.workers, blocks="\n".join(_blocks(table)))
        return (
            ProcessSpec(
                name="nginx",
                argv=(str(_binary()), "-e", "stderr", "-p", "{dir}", "-c", "{dir}/nginx.conf"),
                part=Part.DATAPATH,
                files={"nginx.conf": text},
                user=UID,
                ready=Port(PORT),
            ),
        )

    def version(self) -> str:
        told = subprocess.run([str(_binary()), "-v"], capture_output=True, text=True, check=True)
        return told.stderr.partition(": ")[2].strip()


def _binary() -> Path:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise CannotRun("nginx is missing; install it with: apt-get install nginx")
    return Path(found)


def _blocks(table: Table) -> Iterator[str]:
    first = 0
    for number, size in enumerate(table.sizes()):
        servers = " ".join(f"server {endpoint(n)}:{SERVED};" for n in range(first, first + size))
        yield f"  upstream c{number} {{ {servers} }}"
        first += size
    target = f"proxy_pass http://{table.upstream}" if table.upstream else "return 404"
    yield f"  server {{ listen {PORT} default_server backlog=4096; location / {{ {target}; }} }}"
    for number in range(table.routes):
        to = f"proxy_pass http://c{number % table.clusters}" if table.clusters else "return 404"
        name = f"s{number}.ns"
        yield f"  server {{ listen {PORT}; server_name {name}.svc.cluster.local {name}; location / {{ {to}; }} }}"
    for number in range(table.listeners):
        yield f"  server {{ listen 127.0.0.1:{FIRST_LISTENER + number}; location / {{ return 404; }} }}"
