"""`python -m datapaths.proxy.xds --port PORT resources.json`: a control plane for the proxies of one pod.

The file holds `resources`: lists of `clusters`, `endpoints`, `routes` and `listeners` as Envoy's API writes them in
JSON; and `encoded`: the same as `datapaths.proxy.xds.resources.frozen` gives them. It prints `ready`, then one JSON
line for every update that the proxy has answered. A line `push KIND COUNT` on standard input changes and sends COUNT
resources of that kind (0: all of them); changed clusters are followed by their endpoints. It ends with its input.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]

from datapaths.proxy.xds import resources as xds
from datapaths.proxy.xds.stream import PATH, Stream
from lab.record import LabError, Mistake


class Control(grpc.GenericRpcHandler):  # type: ignore[misc]
    """All streams of one control plane; pushes go to every one of them."""

    def __init__(self, told: Mapping[str, Any], values: Mapping[str, Mapping[str, str]]) -> None:
        self.told = {kind: list(told[kind]) for kind in xds.KINDS}
        self.known = xds.thawed(values)
        self.streams: list[Stream] = []

    def service(self, handler_call_details: Any) -> Any:
        """The one method there is; messages pass as bytes."""
        if handler_call_details.method == PATH:
            return grpc.stream_stream_rpc_method_handler(self._serve)
        return None

    def push(self, kind: str, count: int) -> None:
        """Change `count` resources (0: all) and send them; of kinds that are always whole, all are sent."""
        if kind not in xds.KINDS:
            raise Mistake(f"push of {kind!r}; allowed are {', '.join(xds.KINDS)}")
        changed = self.told[kind][: count or None]
        for resource in changed:
            _change(resource)
        fresh = xds.encoded(kind, changed)
        self.known[kind].update(fresh)
        for stream in self.streams:
            stream.push(kind, tuple(self.known[kind] if kind in xds.ALWAYS_WHOLE else fresh))
            if kind == "clusters":  # a changed cluster stays aside until it is told its endpoints again
                stream.push("endpoints", tuple(fresh))

    def _serve(self, requests: Iterator[bytes], _context: Any) -> Iterator[bytes]:
        stream = Stream(self.known, _say)
        self.streams.append(stream)
        threading.Thread(target=stream.hear, args=(requests,), daemon=True).start()
        try:
            yield from stream.answers(requests)
        finally:
            self.streams.remove(stream)


def _change(resource: dict[str, Any]) -> None:
    """A difference that the proxy must act on: a port moves to the next, a timeout grows, a name is added."""
    if "cluster_name" in resource:
        for locality in resource["endpoints"]:
            for host in locality["lb_endpoints"]:
                host["endpoint"]["address"]["socket_address"]["port_value"] += 1
    elif "virtual_hosts" in resource:
        for virtual in resource["virtual_hosts"][1:]:
            virtual["domains"][-1] += "x"
    elif "eds_cluster_config" in resource:
        resource["connect_timeout"] = f"{int(resource['connect_timeout'][:-1]) + 1}s"
    else:
        resource["tcp_backlog_size"] += 1


def _say(told: Mapping[str, Any]) -> None:
    print(json.dumps(told), flush=True)


def main() -> int:
    """Serve until standard input ends. Exit code 1 with one line of why where it could not start."""
    parser = argparse.ArgumentParser(prog="python -m datapaths.proxy.xds")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("file", type=Path)
    asked = parser.parse_args()
    try:
        given = json.loads(asked.file.read_text())
        control = Control(given["resources"], given["encoded"])
        server = grpc.server(ThreadPoolExecutor(8), handlers=(control,))
        if not server.add_insecure_port(f"127.0.0.1:{asked.port}"):
            raise Mistake(f"port {asked.port} is taken; give another by --port")
        server.start()
        print("ready", flush=True)
        for line in sys.stdin:
            word, kind, count = line.split()
            if word != "push":
                raise Mistake(f"{word!r} on standard input; the only order is: push KIND COUNT")
            control.push(kind, int(count))
    except (LabError, ValueError, RuntimeError) as error:
        print(f"control: {error}", file=sys.stderr)
        return 1
    server.stop(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
