"""Programs in containers of the lab: their output apart from their errors, and no one-off left behind."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pgswarm import settings
from pgswarm.errors import Again, Failure, Refused
from pgswarm.ports import delegate
from pgswarm.ports.swarm import DockerSwarm
from pgswarm.wire import SECRET_FILE

pytestmark = pytest.mark.lab


def left(client: Any) -> list[Any]:
    return list(client.services(filters={"label": f"{settings.LABEL_KIND}=one-off"}))


@pytest.mark.usefixtures("control")
async def test_a_one_off_runs_to_its_end_with_the_secret_and_is_gone(
    swarm: DockerSwarm, client: Any, stub: str
) -> None:
    heard: list[str] = []
    script = f"test -s {SECRET_FILE} && echo has the secret; echo wrong >&2; exit 3"
    outcome = await delegate.one_off(swarm, stub, ["sh", "-c", script], tell=heard.append)
    assert (outcome.exit_code, outcome.output, outcome.errors) == (3, "has the secret\n", "wrong\n")
    assert sorted(heard) == ["has the secret", "wrong"]
    assert left(client) == []


@pytest.mark.usefixtures("control")
async def test_a_one_off_sees_the_folders_it_is_given(swarm: DockerSwarm, stub: str) -> None:
    mount = {"Type": "bind", "Source": "/etc", "Target": "/host/etc", "ReadOnly": True}
    outcome = await delegate.one_off(swarm, stub, ["cat", "/host/etc/hostname"], mounts=[mount])
    assert (outcome.exit_code, outcome.output) == (0, "node1\n")


@pytest.mark.usefixtures("control")
async def test_a_one_off_that_does_not_end_is_stopped_and_gone(swarm: DockerSwarm, client: Any, stub: str) -> None:
    with pytest.raises(Again, match="has not ended within 3 s and was stopped"):
        await delegate.one_off(swarm, stub, ["sleep", "1000"], seconds=3)
    assert left(client) == []


@pytest.mark.usefixtures("control")
async def test_a_one_off_that_cannot_begin_says_why_and_is_gone(swarm: DockerSwarm, client: Any, stub: str) -> None:
    mount = {"Type": "bind", "Source": "/no/such/folder", "Target": "/x"}
    with pytest.raises(Refused, match="the folder /no/such/folder does not exist on node node1"):
        await delegate.one_off(swarm, stub, ["ls"], mounts=[mount])
    assert left(client) == []


async def test_a_program_in_a_container_has_its_output_apart_from_its_errors(
    swarm: DockerSwarm, client: Any, stub: str
) -> None:
    container = client.create_container(stub, host_config=client.create_host_config(network_mode="none", init=True))
    try:
        client.start(container["Id"])
        script = "echo one; echo two >&2; echo three; exit 5"
        outcome = await delegate.exec_in(swarm.engine, container["Id"], ["sh", "-c", script])
        assert (outcome.exit_code, outcome.output, outcome.errors) == (5, "one\nthree\n", "two\n")
        missing = await delegate.exec_in(swarm.engine, container["Id"], ["no-such-program"])
        assert missing.exit_code in (126, 127)
        started = time.monotonic()
        with pytest.raises(Again):
            await delegate.exec_in(swarm.engine, container["Id"], ["sleep", "60"], seconds=1)
        assert time.monotonic() - started < 10
        client.kill(container["Id"])
        with pytest.raises(Again, match="is not running"):
            await delegate.exec_in(swarm.engine, container["Id"], ["ls"])
    finally:
        client.remove_container(container["Id"], force=True)
    with pytest.raises(Failure, match="No such container"):
        await delegate.exec_in(swarm.engine, container["Id"], ["ls"])
