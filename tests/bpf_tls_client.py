"""HTTP/1.1 inside TLS with several requests on a connection: `python bpf_tls_client.py ADDRESS PORT CONNECTIONS`."""

from __future__ import annotations

import http.client
import ssl
import sys

REQUESTS = (
    ("GET", "/hello", 0),
    ("HEAD", "/hello", 0),
    ("GET", "/big", 0),
    ("POST", "/hello", 50_000),
    ("GET", "/no", 0),
)


def main(address: str, port: str, connections: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(int(connections)):
        connection = http.client.HTTPSConnection(address, int(port), timeout=10, context=context)
        for method, path, size in REQUESTS:
            connection.request(method, path, b"b" * size if size else None)
            connection.getresponse().read()
        connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
