"""The services that a document asks for: complete, the same every time, and refused by name where something lacks."""

from __future__ import annotations

import json

import pytest

from pgswarm import settings, wire
from pgswarm.core.swarmview import Secret
from pgswarm.errors import Refused
from pgswarm.render import services
from tests.render.wanted import NAMES, PLACE, VIEW, container, document, member, router


def test_a_member_is_one_task_bound_to_its_node_with_its_volume() -> None:
    spec = member()
    task = spec["TaskTemplate"]
    assert spec["Name"] == "main_pg-1"
    assert spec["Mode"] == {"Replicated": {"Replicas": 1}}
    assert task["Placement"]["Constraints"] == ["node.id==n1"]
    assert task["Placement"]["MaxReplicas"] == 1
    volume = task["ContainerSpec"]["Mounts"][0]
    assert (volume["Type"], volume["Source"], volume["Target"]) == ("volume", "data_1", settings.VOLUME_PATH)
    assert task["RestartPolicy"]["Delay"] == 0
    assert spec["UpdateConfig"]["Order"] == "stop-first"
    assert spec["UpdateConfig"]["FailureAction"] == "pause"


def test_a_member_is_on_the_control_network_only_and_publishes_nothing() -> None:
    spec = member()
    assert spec["TaskTemplate"]["Networks"] == [{"Target": "id-pgswarm-control", "Aliases": ["main-members"]}]
    assert spec["EndpointSpec"] == {"Mode": "dnsrr", "Ports": []}


def test_a_member_finds_its_secrets_where_the_agent_looks() -> None:
    found = {f"/run/secrets/{one['File']['Name']}": one["SecretName"] for one in container(member())["Secrets"]}
    assert found == {
        wire.SECRET_FILE: "pgswarm-control",
        settings.OWNER_PASSWORD_FILE: "main-owner",
        settings.REPLICATION_PASSWORD_FILE: "main-replication",
    }
    assert all(one["File"]["Mode"] == 0o444 for one in container(member())["Secrets"])


def test_no_secret_is_in_the_environment() -> None:
    names = ["PGSWARM_CLUSTER=main", "PGSWARM_MEMBER=pg-1", "PGSWARM_PLACE=n1/data_1", "PGSWARM_TASK={{.Task.ID}}"]
    assert container(member())["Env"] == names


def test_members_and_routers_inherit_the_log_format_and_the_token_for_metrics() -> None:
    heritage = services.Heritage(log_format="json", metrics_secret="my-own")
    (made,) = services.router_services(document(), VIEW, image="router:1", heritage=heritage)
    for one in (made, member(heritage=heritage)):
        assert "PGSWARM_LOG_FORMAT=json" in container(one)["Env"]
        assert [s["SecretName"] for s in container(one)["Secrets"] if s["File"]["Name"] == "pgswarm-metrics"] == [
            "my-own"
        ]
    with pytest.raises(Refused, match="secret missing does not exist"):
        member(heritage=services.Heritage(metrics_secret="missing"))


def test_a_member_has_time_to_stop_and_an_init_that_reaps() -> None:
    found = container(member())
    assert (found["StopGracePeriod"], found["StopSignal"], found["Init"]) == (60 * 10**9, "SIGTERM", True)


def test_a_password_that_the_document_names_is_used_and_never_generated() -> None:
    wanted = document(postgres={"passwords": {"owner": "my-own"}})
    assert "my-own" in [one["SecretName"] for one in container(member(wanted))["Secrets"]]
    assert "main-owner" in [one["SecretName"] for one in container(member(document()))["Secrets"]]


def test_what_is_missing_is_refused_by_its_name() -> None:
    bare = VIEW.model_copy(update={"secrets": VIEW.secrets[:1]})
    with pytest.raises(Refused, match=r"secret main-owner does not exist.*docker secret create main-owner"):
        services.member_service(document(), PLACE, bare, image="member:17")
    bare = VIEW.model_copy(update={"networks": ()})
    with pytest.raises(Refused, match="overlay network pgswarm-control does not exist yet"):
        services.member_service(document(), PLACE, bare, image="member:17")


def test_the_same_document_gives_the_same_spec_and_hash() -> None:
    assert json.dumps(member()) == json.dumps(member())
    assert member()["Labels"][settings.LABEL_WANTED] == services.wanted_hash(member())


def test_another_wish_has_another_hash() -> None:
    hashes = {
        member()["Labels"][settings.LABEL_WANTED],
        member(shared_memory=2**30)["Labels"][settings.LABEL_WANTED],
        services.member_service(document(), PLACE, VIEW, image="member:18")["Labels"][settings.LABEL_WANTED],
    }
    assert len(hashes) == 3


def test_a_resolved_image_is_remembered_and_hashed() -> None:
    spec = services.resolved(member(), "member@sha256:1", "member:17 member@sha256:1")
    assert container(spec)["Image"] == "member@sha256:1"
    assert spec["Labels"][settings.LABEL_IMAGE] == "member:17 member@sha256:1"
    assert spec["Labels"][settings.LABEL_WANTED] == services.wanted_hash(spec)
    assert container(member())["Image"] == "member:17"


def test_routers_run_on_all_managers_unless_the_document_says_otherwise() -> None:
    (spec,) = router()
    assert (spec["Name"], spec["Mode"]) == ("main_postgres-ha", {"Global": {}})
    assert spec["TaskTemplate"]["Placement"]["Constraints"] == ["node.role==manager"]
    (everywhere,) = router(nodes="all")
    assert everywhere["TaskTemplate"]["Placement"]["Constraints"] == []


def test_routers_on_a_list_of_nodes_are_a_service_for_each() -> None:
    specs = router(nodes=["node1", "n3", "n1"])
    assert [spec["Name"] for spec in specs] == ["main_postgres-ha_node1", "main_postgres-ha_node3"]
    assert [spec["TaskTemplate"]["Placement"]["Constraints"] for spec in specs] == [["node.id==n1"], ["node.id==n3"]]
    with pytest.raises(Refused, match="no node 'node9' in this Swarm; there are node1, node2, node3"):
        router(nodes=["node9"])


def test_a_router_joins_both_networks_under_the_name_that_applications_use() -> None:
    (spec,) = router(name="db")
    assert spec["TaskTemplate"]["Networks"] == [
        {"Target": "id-pgswarm-control", "Aliases": ["main-routers"]},
        {"Target": "id-webnet", "Aliases": ["db"]},
    ]


def test_a_router_listens_where_the_document_says_and_publishes_by_its_node() -> None:
    (spec,) = router(port=6000, readOnlyPort=6001, statsPort=6002, healthPort=6003)
    ports = spec["EndpointSpec"]["Ports"]
    assert [(one["TargetPort"], one["PublishedPort"], one["PublishMode"]) for one in ports] == [
        (port, port, "host") for port in (6000, 6001, 6002, 6003)
    ]
    assert "PGSWARM_READ_ONLY_PORT=6001" in container(spec)["Env"]
    assert router(publish=False)[0]["EndpointSpec"] == {"Mode": "dnsrr", "Ports": []}


def test_no_host_name_is_longer_than_the_kernel_takes() -> None:
    cluster, name = "c" * 40, "m" * 40
    place = PLACE.model_copy(update={"member": name})
    names = [*NAMES, f"{cluster}-owner", f"{cluster}-replication"]
    view = VIEW.model_copy(update={"secrets": tuple(Secret(id=one, name=one) for one in names)})
    spec = services.member_service(document(cluster), place, view, image="i")
    assert len(container(spec)["Hostname"]) <= 63
    (short,) = services.router_services(document(router={"name": "r" * 40}), VIEW, image="i")
    assert container(short)["Hostname"].endswith("-{{.Node.Hostname}}")
    far = VIEW.model_copy(update={"nodes": (VIEW.nodes[0].model_copy(update={"name": "n" * 60}),)})
    (long,) = services.router_services(document(router={"name": "r" * 40}), far, image="i")
    assert container(long)["Hostname"] == "r" * 37 + "-{{.Node.ID}}"  # 25 letters: 63 in all


def test_the_client_of_a_drill_has_what_an_application_has_and_nothing_more() -> None:
    spec = services.drill_service(document(router={"port": 6432}), VIEW, node_id="n2", image="member:17", seconds=15.0)
    task = spec["TaskTemplate"]
    assert [one["Target"] for one in task["Networks"]] == ["id-webnet"]
    assert [one["SecretName"] for one in container(spec)["Secrets"]] == ["main-owner"]
    assert container(spec)["Mounts"] == []
    words = container(spec)["Command"]
    assert words[:6] == ["pgswarm", "drill-writer", "--host", "postgres-ha", "--port", "6432"]
    assert task["RestartPolicy"] == {"Condition": "none"}, "it is run once"
    assert task["Placement"]["Constraints"] == ["node.id==n2"]
    assert spec["Labels"] == {settings.LABEL_KIND: "drill", "pgswarm.drill": "main"}
