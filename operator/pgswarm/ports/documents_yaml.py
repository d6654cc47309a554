"""YAML to plain data that remembers where everything was written.

A person who made a mistake wants the line, so nothing here goes through `yaml.load`: the text is composed into nodes,
and the nodes are turned into plain data by us, keeping each value's place under its path. That also lets us see what
`load` hides: a key written twice (it keeps the last), a loop of aliases (it never ends), a document that grows without
bound through aliases of aliases.

The rest of the reading is in `documents` (files) and `documents_words` (what the models say, in plain words).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

Path = tuple[str | int, ...]

MOST_VALUES = 20_000
"""Values in one document; a real one has a hundred. Aliases of aliases reach any number in ten lines."""

PLAIN_TEXT: tuple[Path, ...] = (("spec", "postgres", "parameters"),)
"""Sections whose numbers are kept as they were written: 0777 and 1:30 mean something else to YAML."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file, counted from one."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, where in the file and where in the document."""

    spot: Spot
    path: Path
    text: str


@dataclass(slots=True)
class Tree:
    """One document as plain data, with the places of its keys and values."""

    start: Spot
    data: object = None
    keys: dict[Path, Spot] = field(default_factory=dict)
    values: dict[Path, Spot] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def trees(text: str) -> Iterator[Tree | Mistake]:
    """Every document of a file that is not empty; at a syntax error its mistake, and then the end."""
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            if not (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null") and not node.value):
                yield _Builder(node).tree
    except yaml.YAMLError as error:
        yield _syntax(error, text)
    except RecursionError:
        yield Mistake(Spot(1, 1), (), "is nested too deeply to be a document")


def _syntax(error: yaml.YAMLError, text: str) -> Mistake:
    if isinstance(error, yaml.reader.ReaderError):
        line, column = text.count("\n", 0, error.position) + 1, error.position - text.rfind("\n", 0, error.position)
        return Mistake(Spot(line, column), (), f"contains a character that is not text (code {_code(error.character)})")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    spot = Spot(mark.line + 1, mark.column + 1) if mark else Spot(1, 1)
    problem = str(getattr(error, "problem", None) or getattr(error, "context", None) or error)
    if r"'\t'" in problem:
        return Mistake(spot, (), "a tab is used for indentation; YAML wants spaces")
    for pattern, words in _SYNTAX_IN_WORDS:
        match = re.search(pattern, problem)
        if match:
            return Mistake(spot, (), match.expand(words))
    return Mistake(spot, (), f"is not valid YAML: {problem}")


_SYNTAX_IN_WORDS = [
    (r"mapping values are not allowed here", "a ':' where no key can be; is the line before indented as it should be?"),
    (r"could not find expected ':'", "a key without ':' after it, or text that needs quotes"),
    (r"expected <block end>, but found '(.+)'", "is indented differently from the lines that it belongs to"),
    (r"found undefined alias '?([^' ]+)'?", r"*\1 refers to an anchor &\1 that is not in this document"),
    (r"found unexpected end of stream", "ends within quotes or brackets that were opened before"),
    (r"expected ',' or '([\]}])', but got", r"a ',' or the closing '\1' is missing"),
    (r"found character '(.+)' that cannot start any token", r"text that begins with \1 needs quotes"),
]


def _code(character: object) -> str:
    return f"0x{character:02x}" if isinstance(character, int) else repr(character)


class _TooMuch(Exception):
    pass


class _Builder:
    """Turns one composed document into a Tree."""

    def __init__(self, node: yaml.Node) -> None:
        self.tree = Tree(start=_spot(node))
        self._count = 0
        self._open: set[int] = set()
        try:
            self.tree.data = self._value(node, ())
        except _TooMuch:
            self._mistake(node, (), f"has more than {MOST_VALUES} values; a document has about a hundred")

    def _value(self, node: yaml.Node, path: Path) -> object:
        self._count += 1
        if self._count > MOST_VALUES:
            raise _TooMuch
        self.tree.values[path] = _spot(node)
        if id(node) in self._open:
            self._mistake(node, path, "is an alias of something that contains it")
            return None
        self._open.add(id(node))
        try:
            match node:
                case yaml.MappingNode():
                    return self._mapping(node, path)
                case yaml.SequenceNode():
                    return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
                case yaml.ScalarNode():
                    return self._scalar(node, path)
                case _:
                    raise TypeError(f"YAML has no such node: {type(node).__name__}")
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        merged: dict[str, object] = {}
        own: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._mistake(key, path, "a key must be a word, not a list or a mapping")
            elif key.tag.endswith(":merge"):
                merged.update(self._merged(value, path))
            elif key.value in own:
                first = self.tree.keys[(*path, key.value)]
                self._mistake(key, (*path, key.value), f"is given twice; the first one is in line {first.line}")
            else:
                self.tree.keys[(*path, key.value)] = _spot(key)
                own[key.value] = self._value(value, (*path, key.value))
        return {**merged, **own}

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, object]:
        """What `<<: *anchor` brings; an own key of the mapping wins, and of several anchors the first."""
        sources = list(reversed(node.value)) if isinstance(node, yaml.SequenceNode) else [node]
        result: dict[str, object] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                self._mistake(source, path, "'<<' takes a mapping, or a list of mappings")
                continue
            known_keys, known_values = dict(self.tree.keys), dict(self.tree.values)
            value = self._value(source, path)
            self.tree.keys.update(known_keys)
            self.tree.values.update(known_values)
            if isinstance(value, dict):
                result.update(value)
        return result

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        kind = node.tag.rpartition(":")[2]
        as_written = any(path[: len(section)] == section for section in PLAIN_TEXT)
        text: str = node.value
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    truth = text.lower() in {"yes", "true", "on"}
                    return ("on" if truth else "off") if as_written else truth
                case "int" | "float" if not as_written:
                    return yaml.safe_load(text)
        except (ValueError, yaml.YAMLError):
            return text
        return text

    def _mistake(self, node: yaml.Node, path: Path, text: str) -> None:
        self.tree.mistakes.append(Mistake(_spot(node), path, text))


def _spot(node: yaml.Node) -> Spot:
    return Spot(node.start_mark.line + 1, node.start_mark.column + 1)
