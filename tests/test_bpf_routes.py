"""Route patterns: the automaton beside a plain reference, and the kernel beside the automaton."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpf_exchanges import answer, get
from bpf_mesh import ARM, CLIENT, PORT, SERVER, needs, pods, script
from hypothesis import given
from hypothesis import strategies as st

from datapaths.bpf.http import HttpWatch
from datapaths.bpf.routes import FEW, SEGMENT_BYTES, Routes, digest
from datapaths.ebpf import Ebpf, identities
from lab.cluster import Line, ProcessSpec
from lab.cluster.local import LocalCluster
from lab.record import Mistake

WORDS = ("a", "b", "users", "x" * 8, "y" * 9, "z" * SEGMENT_BYTES)
TAILS = st.sampled_from(["", "/**", "/"])
TOKENS = st.sampled_from([*WORDS, "*", "{id}"])
PATTERNS = st.lists(
    st.builds(lambda tokens, tail: "/" + "/".join(tokens) + tail, st.lists(TOKENS, min_size=1, max_size=4), TAILS),
    max_size=6,
    unique=True,
)
PATHS = st.lists(st.sampled_from([*WORDS, "", "other", "w" * 80, "1"]), min_size=1, max_size=6).map(
    lambda segments: "/" + "/".join(segments)
)


def matches(pattern: str, path: str) -> bool:
    """One pattern, read as its documentation says."""
    wanted, given_ = pattern[1:].split("/"), path[1:].split("/")
    if wanted[-1] == "**":
        return len(given_) >= len(wanted) and all(map(fits, wanted[:-1], given_))
    return len(given_) == len(wanted) and all(map(fits, wanted, given_))


def fits(token: str, segment: str) -> bool:
    return bool(segment) if token == "*" or token.startswith("{") else token == segment


def best(patterns: list[str], path: str) -> str | None:
    def rank(pattern: str) -> list[int]:
        return [2 if t == "**" else 1 if t == "*" or t.startswith("{") else 0 for t in pattern[1:].split("/")]

    return min((p for p in patterns if matches(p, path)), key=rank, default=None)


@given(PATTERNS, PATHS)
def test_the_automaton_finds_what_reading_the_patterns_one_by_one_finds(patterns: list[str], path: str) -> None:
    routes = Routes(patterns)
    assert routes.match(path) == best(patterns, path)
    assert routes.matching(routes.state(path)) == {p for p in patterns if matches(p, path)}


def test_literals_come_before_names_and_names_before_the_rest() -> None:
    routes = Routes(["/**", "/users/{id}", "/users/me", "/users/**", "/"])
    found = {path: routes.match(path) for path in ("/users/me", "/users/7", "/users/7/x", "/users/", "/users", "/")}
    assert found == {
        "/users/me": "/users/me",
        "/users/7": "/users/{id}",
        "/users/7/x": "/users/**",
        "/users/": "/users/**",
        "/users": "/**",
        "/": "/",
    }


def test_a_literal_that_leads_nowhere_does_not_hide_a_name_that_leads_on() -> None:
    assert Routes(["/a/b/d", "/a/*/c"]).match("/a/b/c") == "/a/*/c"


def test_numbers_are_the_places_in_the_list() -> None:
    routes = Routes(["/x", "/y/*"])
    assert [routes.name(FEW + i) for i in (-1, 0, 1, 2)] == [None, "/x", "/y/*", None]


@pytest.mark.parametrize(
    "pattern", ["", "users", "/a/**/b", "/a*", "/{}/x", "/{id}x", "/a?b", "/é", "/" + "x" * 65, "/x" * 32]
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(Mistake, match="route pattern"):
        Routes([pattern])


def test_patterns_that_need_too_many_states_are_refused() -> None:
    with pytest.raises(Mistake, match="states"):
        Routes(["/*" * i + "/a" + "/*" * 14 for i in range(14)])


def test_all_edges_are_packed() -> None:
    routes = Routes(["/users/{id}", "/users/me", "/static/**"])
    edges = routes.packed_edges()
    assert {struct.unpack("=QII", key)[::2] for key in edges} >= {(digest(b"users"), 5), (digest(b"static"), 6)}
    assert len(list(routes.packed_states())) == len(routes.states)


CONFIGURED = (
    "/users/{id}",
    "/users/me",
    "/users/{id}/orders/*",
    "/static/**",
    "/" + "z" * 64,
    "/",
    "/yyyyyyyy/b",
    "/*/c",
)
LENGTHS = [f"/static/{'s' * n}" for n in (0, 1, 7, 8, 9, 200, 240, 300, 900)]
ODD = ["/users//", "/users/7/", "/users/%41", "//", "/users/../users/me", "*", "http://server/users/7"]
PLAYED = [
    *["/users/7", "/users/me", "/users/" + "7" * 64, "/users/" + "7" * 65, "/users/7/orders/8", "/users/7/orders/"],
    *["/" + "z" * 64, "/" + "z" * 63, "/" + "z" * 65, "/", "/yyyyyyyy/b", "/yyyyyyyy/c", "/unknown", "/u/s/e/r/s"],
    *["/a" * n for n in (31, 32, 33, 60)],
    *["/static" + "/a" * n for n in (32, 33, 100)],
    *LENGTHS,
    *ODD,
]
LONGEST = 240  # bytes of a first line, from which on a path is matched by its beginning

pytest_needs = needs(Ebpf.needs)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with pods(tmp_path_factory.mktemp("state")) as opened:
        yield opened


def send(cluster: LocalCluster, paths: list[str]) -> None:
    """One connection, one request and answer after another."""
    requests = [get(path).decode("latin-1") for path in paths]
    serve = (
        "import socket\n"
        f"l = socket.create_server(({cluster.mesh.pod(SERVER).address!r}, {PORT})); print('ready', flush=True)\n"
        "c, _ = l.accept(); f = c.makefile('rb')\n"
        f"for i in range({len(paths)}):\n"
        "    while f.readline() != b'\\r\\n': pass\n"
        f"    c.sendall({answer()!r})\n"
    )
    ask = (
        "import socket\n"
        f"s = socket.create_connection(({cluster.mesh.pod(SERVER).address!r}, {PORT})); f = s.makefile('rb')\n"
        f"for r in {requests!r}:\n"
        f"    s.sendall(r.encode('latin-1')); assert f.read({len(answer())})\n"
    )
    spec = script("server", "-c", serve)
    server = cluster.run(SERVER, ARM, ProcessSpec(spec.name, spec.argv, spec.part, ready=Line("ready")))
    client = cluster.run(CLIENT, ARM, script("client", "-c", ask))
    assert client.wait(20) == 0, client.read("stderr").decode()
    assert server.wait(5) == 0, server.read("stderr").decode()


@pytest_needs
@pytest.mark.parametrize("side", ["server", "client"])
def test_the_kernel_finds_the_route_that_the_automaton_finds(cluster: LocalCluster, side: str) -> None:
    folder: Path | None = cluster.mesh.pod(SERVER if side == "server" else CLIENT).cgroup
    assert folder is not None
    routes, expected = Routes(CONFIGURED), dict[str, int]()
    for path in PLAYED:
        known = path if len(get(path).split(b"\r\n")[0]) < LONGEST else path[:200]
        name = routes.match(known) or "other"
        expected[name] = expected.get(name, 0) + 1
    with HttpWatch([folder], identities(cluster.mesh), side, patterns=CONFIGURED) as watch:
        send(cluster, PLAYED)
        found = {s.route: s.count for s in watch.series()}
        assert found == expected
        assert watch.totals()["not_http"] == 0
        assert {s.method for s in watch.series()} == {"GET"}
