"""Who runs each command of the papers; `tests/papers/__init__.py` says what the lists are.

The key is what is typed, without its comment; where one command means different things in different places, the key has
the comment too, as `… # comment`. A command of HERE is typed as it stands, with real names in place of the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.papers import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """Run without a Swarm, in a folder with a checkout's files; `then` is a line of shell that must be true."""

    says: tuple[str, ...] = ()
    code: int = 0
    given: Mapping[str, str] = field(default_factory=dict)
    first: str = ""
    then: str = "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """Run on the lab, in the shell of a node: a manager's, the primary's or a standby's. `main.yaml` is there."""

    says: tuple[str, ...] = ()
    code: int | tuple[int, ...] = 0
    given: Mapping[str, str] = field(default_factory=dict)
    first: str = ""
    at: str = "manager"
    endless: bool = False
    quoted: bool = True
    again: bool = False
    """In every block where it stands; else once, however often it is shown."""
    healthy: bool = False
    """Wait afterwards until all is at rest again."""
    work_mem: str = ""
    """Wait afterwards until this is in effect: what the document that is played with changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """Another test, as file::function (or a fixture of it); `through` is what it does it with."""

    test: str
    words: tuple[str, ...] | None = None
    """What its source must hold, if not the verb and every option of the command."""
    through: str = ""


VERBS = "tests/lab/test_verbs.py::test_"
DRILL = There(
    test="tests/lab/test_drill.py::test_every_application_goes_on_through_every_drill_and_all_ledgers_agree",
    through="tests/lab/test_drill.py",
)
DELETE = There(test=f"{VERBS}a_cluster_is_deleted_where_it_was_cut_short_and_its_data_only_when_that_is_said_twice")
MAINTENANCE = There(test=f"{VERBS}a_node_under_maintenance_is_left_by_its_primary_and_nobody_there_is_missed")
DRAINED = There(
    test="tests/lab/test_switchover.py::test_a_primary_that_is_told_to_stop_is_handed_over",
    words=("node", "update", "--availability", "drain"),
)
LOSS = There(test="tests/lab/test_switchover.py::test_loss_is_accepted_by_name_when_two_of_three_members_are_gone")
PERSON = There(test="tests/lab/test_front.py::test_a_person_on_a_manager_needs_no_secret_and_no_address")
TOLD = There(test="tests/lab/test_people.py::test_metrics_and_notices_and_top_tell_of_a_failover")
INSTALLED = "tests/lab/house.py::installed"
STAGE = "operator/pgswarm/drill/stage.py"
SECRET = {"docker secret create ": "docker secret create docs-"}
"""Under another name, so that nothing takes it for its own; those are removed afterwards."""

ALONE: dict[str, Alone] = {
    ". .venv/bin/activate": Alone(then="pgswarm --help >/dev/null"),
    "cd stack/monitoring": Alone(then="test -e monitoring.yml"),
    "pgswarm --install-completion": Alone(says=("completion installed",)),
    "pgswarm drill --list": Alone(says=("postgres", "breaks", "feels", "promised")),
    "pgswarm init main.yaml": Alone(says=("pgswarm apply -f main.yaml",), then="pgswarm validate main.yaml"),
    "pgswarm validate FILE…": Alone(given={"FILE…": "crds/examples/classic.yaml"}),
    "sed -i 's/# work_mem: 16MB/work_mem: 32MB/' main.yaml": Alone(
        first="pgswarm init main.yaml", then="grep -q '^      work_mem: 32MB' main.yaml && pgswarm validate main.yaml"
    ),
    "sudo mkdir -p /etc/pgswarm && sudo cp crds/examples/classic.yaml /etc/pgswarm/main.yaml": Alone(
        given={"sudo ": "", "/etc/": "etc/"}, then="pgswarm validate etc/pgswarm"
    ),
}

HERE: dict[str, Here] = {
    # How it is, and why
    "pgswarm status": Here(says=("all is as the document says", "survives the loss of: any one member")),
    "pgswarm status main": Here(says=("all is as the document says",)),
    "pgswarm status -o wide": Here(says=("all is as the document says",)),
    "pgswarm status --watch": Here(says=("Ctrl-C ends",), endless=True),
    "pgswarm status main --watch": Here(says=("Ctrl-C ends",), endless=True),
    "pgswarm explain": Here(says=("copies", "commits", "failover", "if lost", "why not this one?")),
    "pgswarm doctor": Here(says=("good swarm-quorum", " application-path ", "note backups none configured")),
    "pgswarm doctor --quiet --strict": Here(code=(0, 1)),
    "pgswarm top": Here(says=("sessions", "costliest statements"), endless=True),
    "pgswarm history": Here(says=("term 1 began: pg-a",)),
    "pgswarm history --last 5 -o json": Here(says=('"term"',)),
    "pgswarm history --documents": Here(),
    "pgswarm logs pg-1 -f": Here(says=("pg-1 |",), endless=True),
    "pgswarm logs --since 10m": Here(says=("pg-2 |",)),
    "pgswarm logs operator --tail 200": Here(says=("operator",)),
    "pgswarm logs pg-2": Here(says=("pg-2 |",)),
    "pgswarm logs postgres-primary": Here(says=("pg-1 |",), given={"postgres-primary": "pg-1"}),
    "docker exec $(docker ps -qf label=com.docker.swarm.service.name=pgswarm_operator) pgswarm status": Here(
        says=("all is as the document says",)
    ),
    "docker exec -it $(docker ps -qf name=main_pg-2) ls /var/lib/pgswarm/pgdata": Here(
        at="standby", given={"-it": "-i"}, says=("PG_VERSION",)
    ),
    "docker node ls": Here(says=("Ready",)),
    "docker service ls": Here(says=("main_postgres-ha", "pgswarm_operator")),
    "docker service ps pgswarm_operator": Here(says=("Running",)),
    "docker service inspect --pretty pgswarm_operator": Here(says=("pgswarm_operator",)),
    "docker volume ls": Here(says=("main_pg-",)),
    "docker network ls": Here(says=("webnet",)),
    'eval "$(stack/lab/lab env 1)"': Here(),
    'eval "$(stack/lab/lab env 2)"': Here(),
    'eval "$(stack/lab/lab env 3)"': Here(),
    # A session
    "pgswarm psql": Here(at="primary", says=("in its container on this node, as postgres",)),
    "pgswarm psql -- -c 'select pg_stat_statements_reset()'": Here(at="primary"),
    "pgswarm psql --replica -- -c 'select now() - pg_last_xact_replay_timestamp()'": Here(at="standby"),
    'pgswarm psql -- -c "SELECT … WHERE order_number = 4711"': Here(
        at="primary", given={"SELECT … WHERE order_number =": "SELECT"}, says=("4711",)
    ),
    "pgswarm psql -- -c 'create table visits (at timestamptz default now())' "
    "-c 'insert into visits default values'": Here(at="primary", says=("INSERT 0 1",)),
    "pgswarm psql --replica -- -c 'select * from visits'": Here(at="standby", says=("(1 row)",)),
    "pgswarm psql -- -c 'show work_mem'": Here(at="primary", says=("32MB",)),
    # What would be
    "pgswarm drill postgres --dry-run": Here(says=("it is struck",)),
    "pgswarm switchover --dry-run": Here(says=("takes over",)),
    "pgswarm restart --dry-run": Here(says=("is restarted, a standby", "it hands over first")),
    "pgswarm reseed pg-2 --dry-run": Here(says=("is replaced by a clone of", "there must be room for both")),
    "pgswarm fence pg-2 --dry-run": Here(says=("PostgreSQL is stopped and stays so",)),
    "pgswarm delete main --dry-run": Here(says=("main_pg-a",)),
    "pgswarm delete main --cancel": Here(says=("nothing was deleted",)),
    # Documents
    "pgswarm diff -f main.yaml": Here(),
    "pgswarm apply -f main.yaml": Here(says=("in force",), again=True, work_mem="32MB"),
    "pgswarm get main > main.yaml": Here(),
    "pgswarm rollback": Here(says=("is in force with",), again=True, work_mem="4MB"),
    "pgswarm rollback --to 7 --dry-run": Here(code=(0, 1)),
    # What is done
    'pgswarm pause --for 30m --why "new switch"': Here(says=("paused",)),
    'pgswarm status # "pg-1 serves; paused by ann@manager1 (new switch)", and below it what waits': Here(),
    "pgswarm resume": Here(),
    "pgswarm switchover --to pg-2 --at 2026-01-02T03:00:00Z": Here(given={"2026-01-02T03:00:00Z": "+30m"}),
    'pgswarm status # "planned switchover to pg-2 at 2026-01-02 03:00:00Z, or within 10 min after, …"': Here(),
    "pgswarm switchover --cancel": Here(says=("cancelled: switchover",)),
    'pgswarm fence pg-2 --why "noisy disk"': Here(says=("is fenced",)),
    'pgswarm status # "fence pg-2 is fenced by ann@manager1 (noisy disk)"; pg-2 is "fenced", and not a problem': Here(),
    "pgswarm unfence pg-2": Here(healthy=True),
    'pgswarm status # pg-2: "clone 40 %", then "streaming", then it counts again': Here(
        quoted=False, says=("streaming",)
    ),
    "pgswarm restart pg-2": Here(says=("was restarted and is back",), healthy=True),
    "pgswarm switchover": Here(says=("takes over", "has promised term"), healthy=True),
    "pgswarm failover": Here(says=("must promise a new term", "is furthest at"), healthy=True),
    'docker kill "$(docker ps -qf name=main_pg-)"': Here(at="primary", healthy=True),
    "make reconcile-once": Here(given={"make ": "make -C $CHECKOUT "}),
    "docker node update --availability active --label-rm pgswarm.drill NODE": Here(
        first="docker node update --label-add pgswarm.drill=a-test NODE"
    ),
    "docker run --rm --user root --entrypoint sh -v postgres_primary_data:/v IMAGE -c 'mv /v/pgdata/* /v/ && "
    "rmdir /v/pgdata && cp -a /v/agent/adopted/* /v/ && rm -r /v/agent'": Here(
        first="docker run --rm --user root --entrypoint sh -v docs-way-back:/v IMAGE -c 'cd /v && mkdir -p pgdata "
        "agent/adopted && touch pgdata/PG_VERSION agent/adopted/pg_hba.conf && chown -R 999 . && chmod 700 .'",
        given={"postgres_primary_data": "docs-way-back", "rm -r /v/agent'": "rm -r /v/agent && ls -ln /v'"},
        says=("999 0 0",),
    ),
    # The operator's own stack
    "PGSWARM_REGISTRY=registry.example/ PGSWARM_TAG=1 docker stack deploy -c stack/pgswarm.yml pgswarm": Here(
        given={"registry.example/": "$PGSWARM_REGISTRY/", "PGSWARM_TAG=1 ": ""}, says=("pgswarm_operator",)
    ),
    "PGSWARM_REGISTRY=$PGSWARM_REGISTRY/ docker stack deploy -c stack/pgswarm.yml pgswarm": Here(
        says=("pgswarm_operator",)
    ),
    # The lab has no image of Prometheus and Grafana: Docker reads the file, tests/monitoring tries what is in it.
    "PGSWARM_MONITORING_BY=hostname PGSWARM_MONITORING_NODE=worker01 docker stack deploy -c monitoring.yml "
    "pgswarm-monitoring": Here(
        first="cd stack/monitoring",
        given={"docker stack deploy -c monitoring.yml pgswarm-monitoring": "docker stack config -c monitoring.yml"},
        says=("node.hostname == worker01",),
    ),
    "openssl rand -hex 16 | docker secret create pgswarm-grafana -": Here(given=SECRET),
    "openssl rand -hex 16 | tee /dev/tty | docker secret create pgswarm-dashboard -": Here(
        given={**SECRET, "/dev/tty": "/dev/stderr"}
    ),
    "openssl rand -hex 32 | docker secret create pgswarm-control -": Here(given=SECRET),
    "openssl rand -hex 32 | docker secret create pgswarm-metrics-1 -": Here(given=SECRET),
    "openssl rand -hex 32 | docker secret create pgswarm-webhook-key -": Here(given=SECRET),
    r"printf 'https://hooks.example/T0/B1\n' | docker secret create pgswarm-webhook -": Here(given=SECRET),
    "docker secret create cnv-owner -": Here(given={**SECRET, "docker secret": "echo word | docker secret"}),
}

THERE: dict[str, There] = {
    "pgswarm plan": PERSON,
    "pgswarm reconcile --once": PERSON,
    "pgswarm drill": DRILL,
    "pgswarm drill container": DRILL,
    "pgswarm drill container --html": DRILL,
    "pgswarm drill container --html report.html": DRILL,
    "pgswarm drill container --yes --html report.html": DRILL,
    "pgswarm drill node-drain --yes --html report.html": DRILL,
    "pgswarm drill postgres": DRILL,
    "pgswarm switchover --to pg-2": There(
        test="tests/lab/test_switchover.py::test_a_switchover_is_a_short_pause_in_which_no_new_connection_fails"
    ),
    "pgswarm failover --accept-data-loss": LOSS,
    "pgswarm delete main": DELETE,
    "pgswarm delete NAME --volumes": DELETE,
    "pgswarm maintenance NODE on": MAINTENANCE,
    "pgswarm maintenance worker01 on": MAINTENANCE,
    "pgswarm maintenance worker01 off": MAINTENANCE,
    "pgswarm reseed pg-2": There(test=f"{VERBS}a_member_is_made_anew_by_a_persons_word_while_writers_write"),
    "pgswarm restart": There(
        test=f"{VERBS}all_members_are_restarted_one_at_a_time_and_writers_feel_one_switchover"
    ),
    "pgswarm notify test": TOLD,
    'pgswarm notify drill-started "we pull the plug of worker01" --cluster main': TOLD,
    "docker node update --availability drain": DRAINED,
    "docker node update --availability drain worker01": DRAINED,
    "docker node rm worker01": There(test="tests/lab/test_moves.py::_taken_out", words=("node", "demote", "rm")),
    "docker service rm CLUSTER_MEMBER": There(
        test="tests/lab/test_failover.py::test_a_removed_service_of_the_primary_is_made_again_over_its_volume",
        words=("service", "rm"),
    ),
    "docker service rm pgswarm-drill-CLUSTER": There(
        test="tests/lab/test_drill.py::test_a_drill_that_is_killed_is_cleared_by_the_next_and_one_that_is_interrupted_"
        "clears_itself",
        words=("service", "rm", "_services"),
    ),
    "docker service scale --detach my_stack_postgres-ha=0 my_stack_postgres-primary=0 "
    "my_stack_postgres-secondary=0": There(
        test="tests/lab/test_takeover.py::test_the_classic_set_up_is_taken_over_in_place_with_one_short_outage",
        words=("scale", "postgres-ha", "postgres-primary", "postgres-secondary", "service", "--detach"),
        through="tests/lab/byhand.py::scale",
    ),
    "docker config rm pgswarm.main": There(test="tests/lab/test_mistakes.py::begin", words=("config", "rm")),
    "docker stack deploy -c stack/app/app.yml app": There(
        test="tests/lab/test_drill.py::_the_application", words=("stack", "deploy", "app.yml")
    ),
    "curl -s http://any-node:8080/ledger": There(
        test="tests/lab/test_drill.py::_counts", words=("/ledger", "8080"), through="tests/lab/test_drill.py::_pages"
    ),
    "docker stack deploy -c stack/pgswarm.yml -c stack/dashboard.yml pgswarm": There(
        test="tests/lab/test_dashboard.py::token",
        words=("stack", "deploy", "pgswarm.yml", "dashboard.yml"),
        through="tests/lab/house.py::deploy",
    ),
    "docker stack deploy -c stack/pgswarm.yml -c stack/notices.yml pgswarm": There(
        test="tests/lab/test_people.py::webhook", words=("stack", "deploy", "pgswarm.yml", "notices.yml")
    ),
    "PGSWARM_REGISTRY=registry.example/ PGSWARM_TAG=2 docker stack deploy -c stack/pgswarm.yml pgswarm": There(
        test="tests/lab/test_rolls.py::test_another_build_goes_round_under_load_and_back_and_a_bad_image_stops_at_the_"
        "first_member",
        words=("PGSWARM_TAG", "_deployed", "stack", "deploy", "pgswarm.yml"),
        through=f"{STAGE}::install",
    ),
    "for image in operator member router; do docker build -f stack/images/Dockerfile --target $image -t "
    "registry.example/pgswarm/$image:1 . && docker push registry.example/pgswarm/$image:1 done": There(
        test=INSTALLED, words=("build", "--target", "push", "operator", "member", "router"),
        through="stack/lab/swarmlab/images.py",
    ),
    "make venv lab-up": There(test=INSTALLED, words=("up",)),
    "make images": There(test=INSTALLED, words=("images", "install_whole"), through="operator/pgswarm/drill/whole.py"),
    "make lab-down": There(
        test="tests/lab/test_lab_itself.py::test_an_interrupted_up_is_continued_by_the_next_and_removed_by_down_and_so_"
        "is_an_interrupted_down",
        words=("down",),
    ),
}  # fmt: skip

NAMED = {
    "docker inspect",
    "docker node rm",
    "docker pull",
    "docker service rm",
    "docker stack deploy",
    "docker stack rm",
    "docker stop",
    "docker swarm init",
    "docker volume rm",
    "pgswarm apply",
    "pgswarm diff",
    "pgswarm pause",
    "pgswarm validate",
}

BY_HAND: dict[str, str] = {
    "make test": "it runs this",
    "make check": "it runs this",
    "make demo": "ten minutes of what tests/lab tries piece by piece",
    "make demo ENGINE=current": "it wants an engine of the machine's own",
    "make soak": "an hour; its faults are those of tests/lab",
    "make soak MINUTES=60": "an hour; its faults are those of tests/lab",
    "make bench": "hours; tests/bench tries how it counts and tells",
    "make bench PARTS=report": "it writes docs/benchmarks.md",
    "make model": "ten minutes; tests/sim/test_model.py explores a part",
    "make sim": "minutes; tests/sim/test_histories.py lives some of the same histories",
    "make sim SEEDS=100000": "hours; the same",
    "make sim-mutants": "minutes; tests/sim/test_mutants.py and test_undone.py are the same",
    "pip install 'pgswarm[client]'": "it is in no index yet; `make venv` installs the checkout by pip",
    "docker service update --env-add PGSWARM_LOG_FORMAT=json pgswarm_operator": "it rolls everything; "
    "tests/render/test_services.py has what is handed on, tests/test_logs.py what comes of it",
    "docker service update --secret-rm pgswarm-webhook --secret-add source=pgswarm-webhook-2,target=pgswarm-webhook "
    "pgswarm_operator": "a third roll of the operators; test_people.py::webhook has both halves",
    "docker service update --env-add PGSWARM_METRICS_SECRET=pgswarm-metrics-1 --secret-add "
    "source=pgswarm-metrics-1,target=pgswarm-metrics pgswarm_operator": "it rolls everything; tests/render has what is "
    "handed on",
}


def found(command: Command) -> str:
    """Its key in the lists: with its comment, if that stands there."""
    key = f"{command.text} # {' '.join(command.comment.split())}"
    return key if key in HERE else command.text


def missing(command: Command) -> str:
    return (
        f"{command} — nobody runs this. In tests/papers/played.py put it into ALONE or HERE, with what it says; or "
        f"name in THERE the test that runs it; or say in BY_HAND why nobody can"
    )
