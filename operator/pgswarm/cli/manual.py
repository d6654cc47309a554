"""`manual`: the reference of documents and of the command line, made from the models and the verbs themselves.

docs/reference/document.md and docs/reference/commands.md are what this prints (`make reference`); a test compares them,
so the reference cannot say what the program does not. The words are those of the fields and of `--help`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo


WIDTH = 100


class Part(StrEnum):
    """What is printed."""

    DOCUMENT = "document"
    COMMANDS = "commands"


def declare(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command(hidden=True)
    def manual(part: Annotated[Part, typer.Argument(help="document: its fields. commands: every verb.")]) -> None:
        """Print the reference of documents or of commands, as Markdown."""
        lines = documents() if part is Part.DOCUMENT else commands(app)
        print("\n".join(lines))


def documents() -> Iterator[str]:
    """Every field of a document with its type, default and meaning."""
    from pgswarm.core.parameters import OWNED_PARAMETERS
    from pgswarm.core.spec import PostgresCluster

    yield "# Reference: the document"
    yield ""
    yield "Made from the models by `make reference`; not written by hand. As JSON Schema, for editors: `crds/`."
    yield ""
    yield "| field | what it takes | default | meaning |"
    yield "|---|---|---|---|"
    yield from _fields(PostgresCluster, "")
    yield ""
    yield (
        "Parameters that a document may not set, because the protocol stands on them: "
        + ", ".join(f"`{name}`" for name in sorted(OWNED_PARAMETERS))
        + "."
    )


def commands(app: typer.Typer) -> Iterator[str]:
    """Every verb that is not hidden, as `--help` tells it."""
    root: Any = typer.main.get_command(app)
    yield "# Reference: the commands"
    yield ""
    yield "Made from the verbs by `make reference`; not written by hand. `pgswarm VERB --help` says the same."
    yield "Exit codes: 0 done, 1 failed or refused with the reason, 2 the words or the document are wrong."
    shown = [name for name, verb in root.commands.items() if not verb.hidden]
    yield ""
    yield " · ".join(f"[{name}](#pgswarm-{name})" for name in shown)
    for name in shown:
        yield ""
        yield f"## pgswarm {name}"
        yield ""
        yield "```"
        yield _help(app, name)
        yield "```"


def _help(app: typer.Typer, name: str) -> str:
    """What `--help` prints on a screen of WIDTH columns."""
    from typer.testing import CliRunner

    said = CliRunner().invoke(app, [name, "--help"], prog_name="pgswarm", env={"COLUMNS": str(WIDTH), "NO_COLOR": "1"})
    return "\n".join(line.rstrip() for line in said.output.strip().splitlines())


def _fields(model: type[BaseModel], path: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        place = f"{path}{field.alias or name}"
        yield f"| `{place}` | {_kind(field)} | {_default(field)} | {_escaped(field.description or _first(field))} |"
        for nested, index in _nested(field.annotation):
            yield from _fields(nested, f"{place}{'[]' if index else ''}.")


def _nested(annotation: Any) -> Iterator[tuple[type[BaseModel], bool]]:
    """The models in an annotation, and whether they are the items of a list."""
    from typing import get_args, get_origin

    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, False
        return
    for argument in get_args(annotation):
        for nested, index in _nested(argument):
            yield nested, index or get_origin(annotation) is list


def _first(field: FieldInfo) -> str:
    """The first line of what the model of a section says of itself."""
    models = [model for model, _ in _nested(field.annotation)]
    return (models[0].__doc__ or "").strip().splitlines()[0] if models else ""


def _kind(field: FieldInfo) -> str:
    return _escaped(_words(field.annotation, list(field.metadata)))


def _words(annotation: Any, metadata: list[Any]) -> str:
    import types
    from typing import Annotated as Noted
    from typing import Literal, Union, get_args, get_origin

    from pydantic import BaseModel

    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Noted:
        return _words(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one, metadata) for one in arguments if one is not type(None))
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin is list:
        return f"list of {_words(arguments[0], [])}"
    if origin is dict:
        return "name: value"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if shapes := [words for one in metadata if (words := _said_by(one))]:
        return shapes[0]
    limits = [
        f"{word} {getattr(one, key)}"
        for one in metadata
        for key, word in _LIMITS
        if getattr(one, key, None) is not None
    ]
    plain = {"str": "text", "int": "whole number", "float": "number", "bool": "`true`, `false`"}
    return plain.get(getattr(annotation, "__name__", ""), "text") + (f" ({', '.join(limits)})" if limits else "")


def _said_by(check: Any) -> str:
    """What a check of text says of a wrong one: `must be …`."""
    words = getattr(getattr(getattr(check, "func", None), "__self__", None), "words", "")
    return str(words).removeprefix("must be ")


_LIMITS = (("ge", "at least"), ("le", "at most"))


def _default(field: FieldInfo) -> str:
    import json

    from pydantic import BaseModel

    if field.is_required():
        return "**needed**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "as below"
    return "none" if value is None or value in ({}, []) else f"`{json.dumps(value)}`"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
