"""The application that is measured: an unmodified nginx that answers as asked, and the pods and service around it.

Targets: `/bytes/N` answers exactly N bytes; `/sleep/MS/bytes/N` lets MS milliseconds pass first, without keeping the
worker from other requests; `/close` closes the connection instead of answering; `/health` answers 200. Sizes are fixed
when the server is deployed; others answer 404.

A body of up to `MEMORY_BYTES` stands in the configuration and leaves in one write together with its headers; a larger
one is a file sent from the page cache by sendfile. Both cost the server less than any code that would generate bytes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lab.cluster import Http, Part, PodSpec, ProcessSpec, ServiceSpec
from lab.record import MOST_CONNECTIONS, MOST_RESPONSE_BYTES, CannotRun, Load, Mistake

PORT = 8080
UID = 65534
MEMORY_BYTES = 2048  # nginx reads its configuration through a 4096-byte window, which one string must fit into
MODULES = Path("/usr/lib/nginx/modules")
LUA = ("ndk_http_module.so", "ngx_http_lua_module.so")
SPARE_CONNECTIONS = 480  # beside the client's: readiness probes, connections that are closing

_FRAME = """\
daemon off;
master_process off;
worker_processes 1;
pid {dir}/nginx.pid;
lock_file {dir}/nginx.lock;
error_log stderr warn;
@modules@
events { worker_connections @connections@; multi_accept on; }
http {
  access_log off;
  default_type application/octet-stream;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 1d;
  keepalive_time 365d;
  client_header_timeout 1d;
  client_max_body_size 0;
  tcp_nodelay on;
  sendfile on;
  tcp_nopush on;
  etag off;
  open_file_cache max=64 inactive=1d;
  open_file_cache_valid 1d;
  server {
    listen @port@ backlog=4096;
    location = /health { return 200 "ok"; }
    location / { return 404; }
@locations@
  }
}
"""

_SLEEP = """\
    location ~ ^/sleep/([0-9]+)/bytes/([0-9]+)$ {
      content_by_lua_block {
        local ms = tonumber(ngx.var[1])
        if ms > 0 then ngx.sleep(ms / 1000) end
        return ngx.exec("/bytes/" .. ngx.var[2])
      }
    }"""


_CLOSE = "    location = /close { return 444; }"  # nginx's word for: close the connection, say nothing


def server(
    port: int = PORT, sizes: Iterable[int] = (128,), sleeps: bool = False, closes: bool = False
) -> tuple[ProcessSpec, ...]:
    """nginx with one worker: `/bytes/N` for every N of `sizes`, `/sleep/…` where `sleeps`, `/close` where `closes`.

    It runs as one process (the worker is its own master), logs no requests, and never closes a connection by itself.
    nginx counts time in whole milliseconds: a busy worker may end a sleep up to 1 ms early.
    `Mistake` for a size out of range; `CannotRun` when there is nginx here and its Lua, for `sleeps`, is missing.
    """
    wanted = sorted({_size(n) for n in sizes})
    spec = ProcessSpec(
        name="nginx",
        argv=(*_prepare(wanted), _program(), "-e", "stderr", "-p", "{dir}", "-c", "{dir}/nginx.conf"),
        part=Part.APP,
        files={"nginx.conf": rendered(port, wanted, sleeps, closes)},
        user=UID,
        ready=Http(port, "/health"),
    )
    return (spec,)


def server_for(loads: Iterable[Load], port: int = PORT) -> tuple[ProcessSpec, ...]:
    """The server that can answer all of these loads."""
    asked = tuple(loads)
    return server(port, [load.response_bytes for load in asked], any(load.service_time_s for load in asked))


def server_pod(arm: str, node: int, loads: Iterable[Load]) -> PodSpec:
    """The pod that serves an arm."""
    return PodSpec(server_name(arm), node, arm, "server", server_for(loads))


def client_pod(arm: str, node: int, number: int = 0) -> PodSpec:
    """The pod that an arm's engine of this number is started in; it has no process of its own."""
    return PodSpec(client_name(arm, number), node, arm, "client")


def client_nodes(count: int, server: int, nodes: int) -> tuple[int, ...]:
    """The node of each of an arm's client pods: the first; then, in turn, other nodes without the server."""
    near = [0, *(n for n in range(1, nodes) if n != server)] if server else [0]
    return tuple(near[number % len(near)] for number in range(count))


def service(arm: str) -> ServiceSpec:
    """The stable address that an arm's client talks to."""
    return ServiceSpec(server_name(arm), arm, PORT, (server_name(arm),))


def client_name(arm: str, number: int = 0) -> str:
    """The name of an arm's client pod; where several share the load, the others are numbered from 1."""
    return f"{arm}-client-{number}" if number else f"{arm}-client"


def server_name(arm: str) -> str:
    """The name of an arm's server pod and of its service."""
    return f"{arm}-server"


def rendered(port: int, sizes: Iterable[int], sleeps: bool, closes: bool = False) -> str:
    """The server's configuration; the same arguments on the same machine always give the same bytes."""
    locations = [_location(n) for n in sizes] + [_SLEEP] * sleeps + [_CLOSE] * closes
    modules = [f"load_module {path};" for path in lua_modules()] if sleeps else []
    text = _FRAME.replace("@modules@", "\n".join(modules)).replace("@locations@", "\n".join(locations))
    return text.replace("@port@", str(port)).replace("@connections@", str(MOST_CONNECTIONS + SPARE_CONNECTIONS))


def _location(size: int) -> str:
    answer = f'return 200 "{"x" * size}"' if size <= MEMORY_BYTES else f"alias {{dir}}/{size}"
    return f"    location = /bytes/{size} {{ {answer}; }}"


def _prepare(sizes: Iterable[int]) -> tuple[str, ...]:
    """The command line in front of nginx that lays out the large bodies; nothing when there is none."""
    large = [f"truncate -s {n} {n}" for n in sizes if n > MEMORY_BYTES]
    return ("sh", "-c", " && ".join(['cd "{dir}"', *large, 'exec "$0" "$@"'])) if large else ()


def _size(size: int) -> int:
    if not 0 <= size <= MOST_RESPONSE_BYTES:
        raise Mistake(f"a response of {size} bytes; allowed are 0 to {MOST_RESPONSE_BYTES}")
    return size


def _program() -> str:
    """nginx as this machine has it; else its name, for the machine that will run it."""
    found = _found()
    return str(found) if found else "nginx"


def nginx() -> Path:
    """The nginx to run; `CannotRun` when there is none."""
    found = _found()
    if found is None:
        raise CannotRun("nginx is missing; install it with: apt-get install nginx")
    return found


def _found() -> Path | None:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def lua_modules() -> tuple[Path, ...]:
    """The modules that nginx must load, in order, to run Lua; `CannotRun` when they are not installed.

    Without nginx here they are where Debian, and so the image, has them.
    """
    if _found() is None:
        return tuple(MODULES / name for name in LUA)
    told = subprocess.run([str(nginx()), "-V"], capture_output=True, text=True, check=True).stderr
    place = re.search(r"--modules-path=(\S+)", told)
    folder = Path(place[1]) if place else MODULES
    modules = tuple(folder / name for name in LUA)
    if not all(module.exists() for module in modules):
        raise CannotRun("a service time needs nginx's Lua; install it with: apt-get install libnginx-mod-http-lua")
    return modules
