"""The web server that benches ask: nginx in one process, with the pages it is given."""

from __future__ import annotations

from collections.abc import Mapping

from lab.cluster import Part, Port, ProcessSpec

PORT = 8080
_NGINX = (
    "daemon off; master_process off; pid {dir}/pid; error_log stderr; events { worker_connections 1024; } http { "
    "access_log off; keepalive_requests 100000000; %s server { listen %d; %s } }"
)


def nginx(pages: str, files: Mapping[str, str] | None = None) -> ProcessSpec:
    """`pages` are nginx's locations; `files` stand in {dir}, which they may name as their root."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {{dir}}/{kind};" for kind in kinds)
    argv = ("nginx", "-e", "stderr", "-c", "{dir}/nginx.conf")
    text = _NGINX % (temporary, PORT, pages)
    return ProcessSpec("nginx", argv, Part.APP, {"nginx.conf": text, **(files or {})}, ready=Port(PORT))
