"""A TLS connection that one thread reads while another writes: no byte goes astray, and patience is each thread's."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster.kubernetes.turns import TurnTaking, taking_turns

MEGABYTES = 4


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *words.split(), "-keyout", file, "-out", f"{file}.crt"], check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture
def connection(certificate: Path) -> Iterator[ssl.SSLSocket]:
    """To a server that gives everything back, in its own time: what is written and what is read overlap."""
    listener = socket.create_server(("127.0.0.1", 0))
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)

    def serve() -> None:
        with served.wrap_socket(listener.accept()[0], server_side=True) as peer:
            while data := peer.recv(65536):
                peer.sendall(data)

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    context = taking_turns(ssl.create_default_context(cafile=f"{certificate}.crt"))
    with socket.create_connection(listener.getsockname()) as plain:
        made = context.wrap_socket(plain, server_hostname="127.0.0.1")
        yield made
        made.close()
    server.join(5)
    listener.close()


def test_what_is_written_by_one_thread_is_read_whole_by_another(connection: ssl.SSLSocket) -> None:
    assert isinstance(connection, TurnTaking)
    sent = bytes(range(256)) * (MEGABYTES * 4096)

    def write() -> None:
        view = memoryview(sent)
        while view:
            connection.settimeout(10)
            view = view[connection.send(view[:50_000]) :]

    writer = threading.Thread(target=write)
    writer.start()
    found = bytearray()
    while len(found) < len(sent):
        connection.settimeout(None)  # as a web socket's reader does: that must not change the writer's patience
        found += connection.recv(65536)
    writer.join()
    assert bytes(found) == sent


def test_who_waits_too_long_is_told_so(connection: ssl.SSLSocket) -> None:
    connection.settimeout(0.1)
    with pytest.raises(TimeoutError):
        connection.recv(1)


def test_a_reader_is_not_left_waiting_when_another_thread_closes(connection: ssl.SSLSocket) -> None:
    seen: list[BaseException] = []

    def read() -> None:
        try:
            connection.settimeout(None)
            connection.recv(1)
        except (OSError, ValueError) as error:
            seen.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.2)
    connection.close()
    reader.join(5)
    assert not reader.is_alive()
    assert seen
