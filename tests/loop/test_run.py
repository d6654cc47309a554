"""The operator's process: how it begins, and how it ends when Swarm asks it to."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import free

SECRET = "0123456789abcdef"
INFO = {"Name": "here", "Swarm": {"LocalNodeState": "active", "ControlAvailable": True, "NodeID": "n1"}}
CODE = """
import anyio, sys
from pathlib import Path
from pgswarm import cli
from pgswarm.loop import run
from pgswarm.loop.options import Options
options = Options(documents=Path(sys.argv[1]), secret_file=Path(sys.argv[2]), port=int(sys.argv[3]))
cli.app = lambda: anyio.run(run.run, options)
cli.main()
"""


class Engine:
    """An engine of an empty Swarm behind a socket; silent for everything if told so."""

    def __init__(self, path: Path, *, silent: bool = False) -> None:
        self.url, self._silent = f"unix://{path}", silent
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()
        except OSError:
            return

    def wait_until_asked(self) -> None:
        """Somebody has connected, and waits for an answer that never comes."""
        deadline = time.monotonic() + 20
        while not self._open:
            assert time.monotonic() < deadline, "nobody asks"
            time.sleep(0.02)

    def _talk(self, connection: socket.socket) -> None:
        try:
            while (head := connection.recv(65536)) and not self._silent:
                line = head.split(b"\r\n")[0].decode()
                if "/events" in line:
                    continue
                said: object = {"ApiVersion": "1.45", "MinAPIVersion": "1.24"} if "/version" in line else []
                body = json.dumps(INFO if "/info" in line else said).encode()
                top = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(top.encode() + body)
        except OSError:
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def port() -> int:
    return free.ports(1)[0]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    one = Engine(tmp_path / "engine.sock")
    yield one
    one.close()


def start(tmp_path: Path, engine: Engine, port: int) -> subprocess.Popen[str]:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    words = [sys.executable, "-c", CODE, str(tmp_path / "no-documents"), str(secret), str(port)]
    environment = {"PATH": "/usr/bin:/bin", "DOCKER_HOST": engine.url}
    return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str], within: float) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    try:
        _, errors = process.communicate(timeout=within)
    finally:
        process.kill()
    return process.returncode, errors


def wait_until_it_answers(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/live", timeout=1):
                return
        except OSError:
            assert time.monotonic() < deadline, "it never answers"
            time.sleep(0.05)


def test_an_operator_ends_quickly_and_without_complaint_though_another_listens_to_it(
    tmp_path: Path, engine: Engine, port: int
) -> None:
    process = start(tmp_path, engine, port)
    wait_until_it_answers(port)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/stream", headers={"Authorization": f"Bearer {SECRET}"})
    with urllib.request.urlopen(request, timeout=5) as listening:
        assert b'"operator"' in listening.readline()
        code, errors = ended(process, 4)
    assert code == 0, errors
    assert "Traceback" not in errors
    assert "SIGTERM: this operator ends" in errors


def test_an_operator_that_waits_for_its_engine_ends_when_asked(tmp_path: Path, port: int) -> None:
    silent = Engine(tmp_path / "engine.sock", silent=True)
    process = start(tmp_path, silent, port)
    silent.wait_until_asked()
    code, errors = ended(process, 9)
    silent.close()
    assert code == 0, errors
    assert "Traceback" not in errors


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path, engine: Engine, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", port))
        taken.listen()
        process = start(tmp_path, engine, port)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "is another one running here?" in errors.splitlines()[-1]
    assert "Traceback" not in errors
