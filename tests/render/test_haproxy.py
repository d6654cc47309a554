"""HAProxy's configuration: accepted by the real program, and with the properties that the design stands on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pgswarm.render.haproxy import SLOTS, HaproxyConfig, render_config, render_lua


@pytest.fixture
def config(tmp_path: Path) -> HaproxyConfig:
    return HaproxyConfig(admin_socket=str(tmp_path / "admin.sock"), lua_file=str(tmp_path / "gate.lua"))


@pytest.mark.haproxy
def test_haproxy_accepts_the_configuration_without_a_warning(config: HaproxyConfig, tmp_path: Path) -> None:
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin")
    assert program
    (tmp_path / "haproxy.cfg").write_text(render_config(config))
    (tmp_path / "gate.lua").write_text(render_lua())
    command = [program, "-c", "-dW", "-f", str(tmp_path / "haproxy.cfg")]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


def test_the_admin_socket_is_the_only_one_and_local(config: HaproxyConfig) -> None:
    sockets = [line.split() for line in render_config(config).splitlines() if "stats socket" in line]
    assert [words[2] for words in sockets] == [config.admin_socket]
    assert sockets[0][3:5] == ["mode", "600"]


def test_the_statistics_page_can_be_looked_at_and_not_acted_from(config: HaproxyConfig) -> None:
    assert "stats admin" not in render_config(config)


def test_every_server_starts_disabled_but_those_that_refuse(config: HaproxyConfig) -> None:
    servers = [line.split() for line in render_config(config).splitlines() if line.strip().startswith("server ")]
    assert len(servers) == SLOTS + 6
    assert all(words[2] == "127.0.0.1:1" for words in servers)
    assert {words[1] for words in servers if "disabled" not in words} == {"held"}


def test_a_held_connection_is_tried_for_as_long_as_the_gate_would_hold_it() -> None:
    text = render_config(HaproxyConfig(admin_socket="a", lua_file="b", hold_limit=12))
    assert "retries 60" in text
    assert "timeout connect 200ms" in text
    assert "lua.hold write_gate 600 " in text


def test_the_port_of_each_service_is_the_one_asked_for() -> None:
    text = render_config(
        HaproxyConfig(admin_socket="a", lua_file="b", bind="127.0.0.7", port=1111, read_only_port=2222, stats_port=3333)
    )
    for port in (1111, 2222, 3333):
        assert f"bind 127.0.0.7:{port}\n" in text
