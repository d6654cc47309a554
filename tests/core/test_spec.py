"""What a document may say: each rule of the models, one sentence a rule."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pgswarm.core.claim import application_name, incarnation
from pgswarm.core.parameters import OWNED_PARAMETERS, size
from pgswarm.core.spec import LEAST_TIMEOUT, PostgresCluster, seconds, warnings


def document(name: str = "main", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "pgswarm/v1", "kind": "PostgresCluster", "metadata": {"name": name}, "spec": spec}


def cluster(name: str = "main", **spec: Any) -> PostgresCluster:
    return PostgresCluster.model_validate(document(name, **spec), strict=True)


def refusal(name: str = "main", **spec: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        cluster(name, **spec)
    return str(refused.value)


def test_a_name_alone_gives_a_complete_cluster_of_two() -> None:
    small = PostgresCluster.model_validate(
        {"apiVersion": "pgswarm/v1", "kind": "PostgresCluster", "metadata": {"name": "main"}}
    )
    assert [one.name for one in small.instances()] == ["pg-1", "pg-2"]
    assert small.spec.durability == "preferred"
    assert small.spec.router.port == 5432


def test_a_listed_instance_keeps_its_name_node_and_volume() -> None:
    one = {"name": "postgres-primary", "node": "manager1", "volume": "postgres_primary_data"}
    (instance,) = cluster(instances=[one]).instances()
    assert (instance.name, instance.node, instance.volume) == tuple(one.values())


def test_every_name_that_postgresql_counts_a_stream_by_fits_into_63_bytes() -> None:
    member = "m" * 40
    assert cluster("c" * 20, instances=[{"name": member}]).instances()[0].name == member
    assert len(application_name(incarnation(member, "0" * 8), 2**31)) <= 63
    assert "1 to 40" in refusal(instances=[{"name": "m" * 41}])


@pytest.mark.parametrize("name", ["", "Main", "1st", "a_b", "ends-", "pÿ", "a" * 41, "a\n"])
def test_a_name_that_dns_or_swarm_would_not_take_is_refused(name: str) -> None:
    assert "must be 1 to 40 lower-case letters" in refusal(name)


def test_a_service_name_longer_than_swarm_allows_is_refused_where_it_arises() -> None:
    assert "too long for a service" in refusal("c" * 40, instances=[{"name": "m" * 23}])
    assert "too long for a service" in refusal("c" * 40, instances=1, router={"name": "r" * 23})
    assert cluster("c" * 40, instances=[{"name": "m" * 22}]).name == "c" * 40


def test_two_instances_of_one_name_are_refused() -> None:
    assert "two instances are named 'a'" in refusal(instances=[{"name": "a"}, {"name": "a"}])


def test_two_instances_never_share_a_volume() -> None:
    one, two = ({"name": name, "node": "n1", "volume": "data"} for name in "ab")
    assert "a has this volume on n1 already" in refusal(instances=[one, two])
    assert cluster(instances=[one, {**two, "node": "n2"}])


def test_the_router_is_never_named_like_an_instance() -> None:
    assert "both named 'pg-2'" in refusal(instances=2, router={"name": "pg-2"})


def test_the_four_ports_of_a_router_differ_and_each_clash_is_told() -> None:
    text = refusal(router={"port": 1, "readOnlyPort": 1, "statsPort": 1})
    assert text.count("port is 1 already") == 2


def test_required_durability_needs_a_second_instance() -> None:
    assert "required with one instance would let no write through" in refusal(instances=1, durability="required")


def test_a_silence_shorter_than_agents_speak_is_refused() -> None:
    assert LEAST_TIMEOUT == 1.0
    assert "must be at least 1s" in refusal(detectionTimeout="999ms")
    assert cluster(detectionTimeout="1s").spec.detection_timeout == "1s"


@pytest.mark.parametrize("name", sorted(OWNED_PARAMETERS))
def test_a_parameter_on_which_safety_stands_is_refused(name: str) -> None:
    assert "pgswarm sets this itself" in refusal(postgres={"parameters": {name: "x"}})


@pytest.mark.parametrize("name", ["FSYNC", "a.b.c", "a b", "", "x\n", "include 'x'"])
def test_a_parameter_that_is_no_parameter_is_refused(name: str) -> None:
    assert "lower-case name of a PostgreSQL parameter" in refusal(postgres={"parameters": {name: "x"}})


def test_parameters_of_extensions_are_accepted() -> None:
    given = {"auto_explain.log_min_duration": "1s", "shared_preload_libraries": "auto_explain"}
    assert cluster(postgres={"parameters": given}).spec.postgres.settings() == given


def test_a_parameter_cannot_smuggle_in_a_second_line() -> None:
    assert "must be on one line" in refusal(postgres={"parameters": {"work_mem": "4MB\nfsync=off"}})


@pytest.mark.parametrize(
    "rule", ["include x", "host", "host all all\nlocal all all trust", "hostile all all all trust", "@include x", ""]
)
def test_a_rule_that_is_no_line_of_pg_hba_is_refused(rule: str) -> None:
    assert "one line as in pg_hba.conf" in refusal(postgres={"hba": [rule]})


def test_rules_of_pg_hba_are_accepted_and_none_is_the_default() -> None:
    given = ["hostssl all all 10.0.0.0/8 scram-sha-256", 'host "my db" bob samenet reject']
    assert cluster(postgres={"hba": given}).spec.postgres.hba == given
    assert cluster().spec.postgres.hba == []


def test_parameters_become_text_and_booleans_become_on_and_off() -> None:
    given = {"jit": False, "autovacuum": True, "max_connections": 200, "random_page_cost": 1.1, "work_mem": "64MB"}
    assert cluster(postgres={"parameters": given}).spec.postgres.settings() == {
        "jit": "off",
        "autovacuum": "on",
        "max_connections": "200",
        "random_page_cost": "1.1",
        "work_mem": "64MB",
    }


@pytest.mark.parametrize("owner", ["postgres", "pgswarm_replication", "pg_monitor", "public", "none"])
def test_a_role_that_is_taken_cannot_own_the_database(owner: str) -> None:
    assert "choose another name" in refusal(postgres={"owner": owner})


def test_a_template_is_not_a_database_for_applications() -> None:
    assert "is a template" in refusal(postgres={"database": "template1"})


@pytest.mark.parametrize("value", [True, "2", 2.0, 0, 10, [], [{}], None])
def test_instances_are_a_whole_number_from_1_to_9_or_a_list(value: object) -> None:
    assert "instances" in refusal(instances=value)


@pytest.mark.parametrize(("text", "value"), [("500ms", 0.5), ("3s", 3.0), ("2m", 120.0), ("1.5h", 5400.0)])
def test_a_duration_is_a_number_and_a_unit(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["3", "s", "-1s", "3 s", "1d", ""])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    assert "must be a number and a unit" in refusal(isolationTimeout=text)
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(text)


def test_a_document_survives_the_way_through_the_store() -> None:
    once = cluster(instances=[{"name": "a", "node": "n"}], postgres={"parameters": {"jit": "off"}})
    again = PostgresCluster.model_validate_json(once.model_dump_json(by_alias=True))
    assert again == once


def test_the_operators_own_name_is_not_free() -> None:
    assert "the operator's own name" in refusal("pgswarm")


@pytest.mark.parametrize(("text", "value"), [("0B", 0), ("512kB", 512 << 10), ("16MB", 16 << 20), ("1GB", 1 << 30)])
def test_a_size_is_a_whole_number_and_a_unit(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["16", "16mb", "1.5GB", "-1MB", "MB"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="512kB, 16MB or 1GB"):
        cluster(maxLagOnFailover=text)


def test_who_asks_for_async_is_told_what_may_be_lost_and_nobody_else_is() -> None:
    (said,) = warnings(cluster(durability="async", maxLagOnFailover="1MB"))
    assert "up to 1MB" in said
    assert not warnings(cluster())
    assert not warnings(cluster(durability="required"))
