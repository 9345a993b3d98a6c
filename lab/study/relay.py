"""A service that asks the next one: nginx passing every request on, over connections that it keeps."""

from __future__ import annotations

from lab import workload
from lab.cluster import Part, Port, ProcessSpec

KEPT = 512  # idle connections to the next service

_TEXT = """\
daemon off;
master_process off;
pid {dir}/nginx.pid;
lock_file {dir}/nginx.lock;
error_log stderr warn;
events { worker_connections 4096; multi_accept on; }
http {
  access_log off;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 1d;
  keepalive_time 365d;
  tcp_nodelay on;
  upstream next { server @next@; keepalive @kept@; keepalive_requests 1000000000; keepalive_time 365d; }
  server {
    listen @port@ backlog=4096;
    location / { proxy_pass http://next; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }
  }
}
"""


def process(address: str, port: int = workload.PORT) -> ProcessSpec:
    """Listens on `port` of its pod and passes every request to `address`:`port`."""
    words = {"@next@": f"{address}:{port}", "@kept@": str(KEPT), "@port@": str(port)}
    text = _TEXT
    for word, value in words.items():
        text = text.replace(word, value)
    return ProcessSpec(
        name="nginx",
        argv=(str(workload.nginx()), "-e", "stderr", "-p", "{dir}", "-c", "{dir}/nginx.conf"),
        part=Part.APP,
        files={"nginx.conf": text},
        user=workload.UID,
        ready=Port(port),
    )
