"""Reading documents: files as people leave them, and the line that tells them what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgswarm.ports import documents

HEAD = "apiVersion: pgswarm/v1\nkind: PostgresCluster\n"


def named(name: str, spec: str = "") -> str:
    return f"{HEAD}metadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def written(folder: Path, text: str | bytes, name: str = "main.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def lines(folder: Path, text: str | bytes) -> list[str]:
    """The errors of one file, without its folder; nothing of a broken file may be found."""
    read = documents.read(written(folder, text))
    assert not read.clusters
    return [line.removeprefix(f"{folder}/main.yaml:") for line in documents.errors_in_lines(read.errors)]


def test_a_good_file_gives_its_clusters_with_place_and_time(tmp_path: Path) -> None:
    path = written(
        tmp_path, f"# two\n---\n{named('a')}---\n{named('b', 'router: {name: b, port: 1, readOnlyPort: 2}')}"
    )
    os.utime(path, (1000.0, 1234.5))
    read = documents.read(path)
    assert [error.text for error in read.errors] == [
        f"port {port} is published on the same nodes by '{other}' ({path}:{line})"
        for port in (8404, 8405)
        for other, line in (("b", 8), ("a", 3))
    ]
    path = written(tmp_path, f"# one\n---\n{named('a')}")
    os.utime(path, (1000.0, 1234.5))
    (found,) = documents.read(path).clusters
    assert (found.cluster.name, found.source, found.line, found.edited_at) == ("a", str(path), 3, 1234.5)


def test_a_folder_is_read_in_the_order_of_names_and_hidden_and_other_files_are_not(tmp_path: Path) -> None:
    written(tmp_path, named("b", "router: {name: b, publish: false}"), "b.yml")
    written(tmp_path, named("a", "router: {name: a, publish: false}"), "a.yaml")
    for name in (".a.yaml", "a.yaml~", "notes.txt", ".#a.yaml"):
        written(tmp_path, "{", name)
    read = documents.read(tmp_path)
    assert [found.cluster.name for found in read.clusters] == ["a", "b"]
    assert not read.errors


def test_all_mistakes_are_told_at_once_each_at_its_place(tmp_path: Path) -> None:
    text = """\
apiVersion: pgswarm/v2
kind: PostgresCluster
metadata: {name: Main}
spec:
  instances:
    - {name: a, nod: x}
    - name: b
      name: c
  router: {port: 99999, read_only_port: 3, nodes: none}
  postgres:
    version: 16
    parameters: {fsync: off, work_mem: [1], Z: 3, jit: }
  detectionTimeout: 3
  durability: sync
"""
    assert lines(tmp_path, text) == [
        "1:13: apiVersion: 'pgswarm/v2' is not known; known: pgswarm/v1",
        "3:18: metadata.name: must be 1 to 40 lower-case letters, digits and hyphens, begin with a letter and not end "
        "in a hyphen, not 'Main'",
        "6:17: spec.instances[0].nod: is not known here; did you mean node?",
        "8:7: spec.instances[1].name: is given twice; the first one is in line 7",
        "9:18: spec.router.port: must be at most 65535, not 99999",
        "9:25: spec.router.read_only_port: is not known here; did you mean readOnlyPort?",
        "9:51: spec.router.nodes: must be 'managers' or 'all' or a list, not 'none'",
        "11:14: spec.postgres.version: must be 17, not 16",
        "12:18: spec.postgres.parameters.fsync: pgswarm sets this itself; remove it from the document",
        "12:40: spec.postgres.parameters.work_mem: must be text (put numbers, yes and no in quotes), not a list",
        "12:45: spec.postgres.parameters.Z: must be the lower-case name of a PostgreSQL parameter, such as "
        "shared_buffers or auto_explain.log_min_duration, not 'Z'",
        "12:55: spec.postgres.parameters.jit: is empty; give it a value or leave it out",
        "13:21: spec.detectionTimeout: must be a number and a unit: 500ms, 3s, 2m or 1h, not 3",
        "14:15: spec.durability: must be 'preferred', 'required' or 'async', not 'sync'",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: is empty; a document begins with apiVersion and kind"),
        ("# nothing\n---\n---\n", "1:1: is empty; a document begins with apiVersion and kind"),
        ("- a\n", "1:1: must be a mapping with apiVersion, kind, metadata and spec, not a list"),
        ("hello\n", "1:1: must be a mapping with apiVersion, kind, metadata and spec, not the text 'hello'"),
        (b"a: \xff\n", "1:4: is not UTF-8; save the file as UTF-8"),
        ("a: b\x00\n", "1:5: contains a character that is not text (code 0x00)"),
        ("spec:\n\tinstances: 3\n", "2:1: a tab is used for indentation; YAML wants spaces"),
        ("spec: {a: 1\n", "2:1: a ',' or the closing '}' is missing"),
        ("a: b: c\n", "1:5: a ':' where no key can be; is the line before indented as it should be?"),
        ("a: *x\n", "1:4: *x refers to an anchor &x that is not in this document"),
        ("a: 'x\n", "2:1: ends within quotes or brackets that were opened before"),
        ("[" * 5000, "1:1: is nested too deeply to be a document"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert lines(tmp_path, text) == [expected]


def test_a_wrong_kind_says_which_are_known(tmp_path: Path) -> None:
    assert lines(tmp_path, "kind: Postgres\n") == [
        "1:1: apiVersion: is missing; known: pgswarm/v1",
        "1:7: kind: 'Postgres' is not known; known: PostgresCluster",
    ]


def test_a_missing_name_is_told_at_the_section_that_lacks_it(tmp_path: Path) -> None:
    assert lines(tmp_path, f"{HEAD}metadata: {{}}\nspec:\n") == [
        "3:1: metadata.name: is missing; it has no default",
        "4:6: spec: is empty; give it a value or leave it out",
    ]


def test_an_unknown_key_far_from_any_known_one_lists_those(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, named("a", "postgres: {passwords: {zzz: 1}}"))
    assert line == "4:31: spec.postgres.passwords.zzz: is not known here; known: owner, replication"


def test_contradictions_are_told_at_the_field_to_change(tmp_path: Path) -> None:
    assert lines(tmp_path, named("a", "router: {port: 1, readOnlyPort: 1}")) == [
        "4:40: spec.router.readOnlyPort: port is 1 already; port, readOnlyPort, statsPort and healthPort must differ"
    ]
    assert lines(tmp_path, named("a", "instances: [{name: a}, {name: a}], detectionTimeout: 1ms")) == [
        "4:38: spec.instances[1].name: two instances are named 'a'; give each a name of its own",
        "4:61: spec.detectionTimeout: must be at least 1s; agents speak every half second when idle",
    ]


def test_a_file_with_one_mistake_changes_nothing_of_the_other_documents_in_it(tmp_path: Path) -> None:
    read = documents.read(written(tmp_path, f"{named('good')}---\n{named('bad', 'instances: none')}"))
    assert not read.clusters
    assert [error.path for error in read.errors] == ["spec.instances"]


def test_a_broken_file_leaves_its_neighbour_alone(tmp_path: Path) -> None:
    written(tmp_path, "{", "broken.yaml")
    written(tmp_path, named("good"), "good.yaml")
    read = documents.read(tmp_path)
    assert [found.cluster.name for found in read.clusters] == ["good"]
    assert len(read.errors) == 1


def test_anchors_and_merge_keys_are_fine_and_own_keys_win(tmp_path: Path) -> None:
    text = """\
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {name: a}
spec:
  instances:
    - &one {name: a, node: n1}
    - {<<: *one, name: b}
"""
    (found,) = documents.read(written(tmp_path, text)).clusters
    assert [(one.name, one.node) for one in found.cluster.instances()] == [("a", "n1"), ("b", "n1")]


def test_aliases_that_grow_without_bound_or_bite_their_tail_are_refused(tmp_path: Path) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(f'*{chr(97 + n)}' for _ in range(9))}]\n" for n in range(8)
    )
    assert any("has more than 20000 values" in line for line in lines(tmp_path, bomb))
    assert any("is an alias of something that contains it" in line for line in lines(tmp_path, "&a [*a]\n"))


def test_parameters_keep_what_was_written(tmp_path: Path) -> None:
    spec = "postgres: {parameters: {a: on, b: no, c: 0777, d: 1:30, e: 1.10, f: '7', g: 64MB, h: 2024-01-01}}"
    (found,) = documents.read(written(tmp_path, named("a", spec))).clusters
    assert found.cluster.spec.postgres.settings() == {
        "a": "on",
        "b": "off",
        "c": "0777",
        "d": "1:30",
        "e": "1.10",
        "f": "7",
        "g": "64MB",
        "h": "2024-01-01",
    }


def test_a_yes_is_not_a_number_and_a_number_is_not_a_name(tmp_path: Path) -> None:
    spec = "instances: yes, router: {network: 12, publish: 1}"
    assert lines(tmp_path, named("a", spec)) == [
        "4:19: spec.instances: must be a whole number or a list, not true",
        "4:42: spec.router.network: must be letters, digits, '_', '.' and '-', beginning with a letter or digit, "
        "not 12",
        "4:55: spec.router.publish: must be true or false, not 1",
    ]


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert [str(error) for error in documents.read(tmp_path / "no.yaml").errors] == [
        f"{tmp_path}/no.yaml:1:1: cannot be read: it does not exist"
    ]
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    read = documents.read(tmp_path)
    assert [error.text for error in read.errors] == [
        "cannot be read: it is a folder",
        "cannot be read: too many levels of symbolic links",
    ]


def test_a_folder_that_is_not_there_has_no_documents(tmp_path: Path) -> None:
    assert documents.read(tmp_path / "nowhere") == documents.Documents()


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, "#" * 1_000_001)
    assert "is larger than 1 MB" in line


def test_one_cluster_in_two_files_is_an_error_in_both(tmp_path: Path) -> None:
    one, two = written(tmp_path, named("a"), "1.yaml"), written(tmp_path, named("a"), "2.yaml")
    read = documents.read(tmp_path)
    assert not read.clusters
    assert documents.errors_in_lines(read.errors) == [
        f"{one}:3:18: metadata.name: 'a' is also the name of the cluster 'a' ({two}:1)",
        f"{two}:3:18: metadata.name: 'a' is also the name of the cluster 'a' ({one}:1)",
    ]


@pytest.mark.parametrize(
    ("mine", "theirs", "clash"),
    [
        ("nodes: managers", "nodes: managers", True),
        ("nodes: all", "nodes: [n1]", True),
        ("nodes: [n1, n2]", "nodes: [n2]", True),
        ("nodes: [n1]", "nodes: [n2]", False),
        ("nodes: [n1]", "nodes: managers", False),
        ("nodes: all", "nodes: all, publish: false", False),
    ],
)
def test_routers_on_the_same_nodes_cannot_publish_one_port(tmp_path: Path, mine: str, theirs: str, clash: bool) -> None:
    written(tmp_path, named("a", f"router: {{name: a, {mine}}}"), "a.yaml")
    others = "port: 6432, readOnlyPort: 6433, statsPort: 9404, healthPort: 5432"
    written(tmp_path, named("b", f"router: {{name: b, {others}, {theirs}}}"), "b.yaml")
    read = documents.read(tmp_path)
    assert [error.path for error in read.errors] == (["spec.router.port", "spec.router.healthPort"] if clash else [])
    assert len(read.clusters) == (0 if clash else 2)


def test_two_clusters_cannot_have_one_address_for_applications(tmp_path: Path) -> None:
    written(tmp_path, named("a", "router: {publish: false}"), "a.yaml")
    written(tmp_path, named("b", "router: {publish: false}"), "b.yaml")
    texts = {error.text.split(" (")[0] for error in documents.read(tmp_path).errors}
    assert texts == {f"postgres-ha on network webnet is also the address of '{other}'" for other in "ab"}


def test_two_clusters_cannot_have_one_volume(tmp_path: Path) -> None:
    for name in "ab":
        spec = f"router: {{name: r{name}, publish: false}}, instances: [{{name: x, node: n1, volume: data}}]"
        written(tmp_path, named(name, spec), f"{name}.yaml")
    assert {error.path for error in documents.read(tmp_path).errors} == {"spec.instances[0].volume"}
