"""The measured application, alone: real nginx reached from another pod."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import workload
from lab.cluster import Layout, Part, ProcessSpec
from lab.cluster.local import LocalCluster
from lab.record import CannotRun, Load, Mistake

SIZES = (0, 1, 128, workload.MEMORY_BYTES, workload.MEMORY_BYTES + 1, 65_536, 1 << 24)

VISITOR = """
import http.client, json, sys, time
c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=10)
for path in sys.argv[3:]:
    start = time.monotonic()
    c.request("GET", path)
    r = c.getresponse()
    first = c.sock
    body = r.read()
    print(json.dumps([path, r.status, len(body), dict(r.getheaders()), time.monotonic() - start, c.sock is first]))
"""


def has_lua() -> bool:
    try:
        return bool(workload.lua_modules())
    except CannotRun:
        return False


def here() -> None:
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    for tool in ("nft", "nginx"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    here()
    loads = [Load(100, response_bytes=n, service_time_s=0.02 * has_lua()) for n in SIZES]
    with LocalCluster("test-workload", state=tmp_path_factory.mktemp("state")) as opened:
        pods = (workload.server_pod("plain", 1, loads), workload.client_pod("plain", 0))
        opened.deploy(Layout(pods, (workload.service("plain"),)))
        yield opened


def visit(cluster: LocalCluster, *paths: str) -> list[list[Any]]:
    """(path, status, body length, headers, seconds, same connection) of each answer, over one connection."""
    service = cluster.mesh.service(workload.server_name("plain"))
    argv = (sys.executable, "-c", VISITOR, service.address, str(service.port), *paths)
    process = cluster.run(workload.client_name("plain"), "plain", ProcessSpec("visitor", argv, Part.LOAD))
    assert process.wait(30) == 0, process.read("stderr").decode()
    return [json.loads(line) for line in process.read("stdout").splitlines()]


def test_a_body_has_exactly_the_bytes_that_were_asked_for(cluster: LocalCluster) -> None:
    for size, (_, status, length, headers, _, _) in zip(
        SIZES, visit(cluster, *(f"/bytes/{n}" for n in SIZES)), strict=True
    ):
        assert (status, length, headers["Content-Length"]) == (200, size, str(size))
        assert headers["Content-Type"] == "application/octet-stream"


def test_the_connection_is_kept(cluster: LocalCluster) -> None:
    assert all(kept for *_, kept in visit(cluster, *["/bytes/128"] * 1100))  # nginx as shipped closes after 1,000


def test_a_size_that_was_not_deployed_is_not_found(cluster: LocalCluster) -> None:
    ((_, status, *_),) = visit(cluster, "/bytes/777")
    assert status == 404


def test_a_sleep_passes_before_the_answer(cluster: LocalCluster) -> None:
    if not has_lua():
        pytest.skip("nginx has no Lua")
    for _, status, length, _, seconds, _ in visit(cluster, *["/sleep/20/bytes/128"] * 5, "/sleep/0/bytes/128")[:5]:
        assert (status, length) == (200, 128)
        assert seconds >= 0.019  # nginx counts whole milliseconds


def test_sleeping_requests_do_not_wait_for_each_other(cluster: LocalCluster) -> None:
    if not has_lua():
        pytest.skip("nginx has no Lua")
    service = cluster.mesh.service(workload.server_name("plain"))
    target = f"http://{service.address}:{service.port}/sleep/2000/bytes/1"
    code = (
        "import sys, threading, time, urllib.request as u\n"
        "t = time.monotonic()\n"
        "w = [threading.Thread(target=lambda: u.urlopen(sys.argv[1]).read()) for _ in range(10)]\n"
        "[x.start() for x in w]; [x.join() for x in w]\n"
        "print(time.monotonic() - t)"
    )
    spec = ProcessSpec("visitors", (sys.executable, "-c", code, target), Part.LOAD)
    process = cluster.run(workload.client_name("plain"), "plain", spec)
    assert process.wait(30) == 0
    assert 1.9 < float(process.read("stdout")) < 10 * 2.0  # one after another would be 20 s at least


def test_the_server_is_one_process_of_an_ordinary_user(cluster: LocalCluster) -> None:
    (nginx,) = (p for p in cluster.processes if p.spec.name == "nginx")
    (pid,) = nginx.pids()
    uids = Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split("\n")[0].split()
    assert set(uids) == {str(workload.UID)}


def test_the_server_prints_no_request(cluster: LocalCluster) -> None:
    visit(cluster, "/bytes/128")
    (nginx,) = (p for p in cluster.processes if p.spec.name == "nginx")
    assert b"GET" not in nginx.read("stdout") + nginx.read("stderr")


def test_the_same_loads_give_the_same_configuration() -> None:
    loads = [Load(1, response_bytes=n) for n in (4096, 128, 4096)]
    assert workload.server_for(loads) == workload.server_for(reversed(loads))


def test_a_load_asks_for_what_its_server_offers() -> None:
    (spec,) = workload.server_for([Load(1, response_bytes=300)])
    assert f"location = {Load(1, response_bytes=300).path} " in spec.files["nginx.conf"]


def test_a_server_without_sleep_needs_no_lua(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> tuple[Path, ...]:
        raise CannotRun("no Lua")

    monkeypatch.setattr(workload, "lua_modules", absent)
    assert workload.server(sizes=(128,), sleeps=False)
    with pytest.raises(CannotRun, match="no Lua"):
        workload.server(sizes=(128,), sleeps=True)


@pytest.mark.parametrize("size", [-1, (1 << 24) + 1])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(Mistake, match=str(size)):
        workload.server(sizes=(size,))


def test_a_missing_nginx_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(CannotRun, match="apt-get install nginx"):
        workload.nginx()


def test_nginx_accepts_the_configuration(tmp_path: Path) -> None:
    here()
    text = workload.rendered(8080, SIZES, has_lua()).replace("{dir}", str(tmp_path))
    (tmp_path / "nginx.conf").write_text(text)
    argv = [str(workload.nginx()), "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
