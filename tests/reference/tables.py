"""Tables of the fields of documents and settings, from their JSON Schema and the text below each field."""

import ast
import json
from collections.abc import Iterable, Sequence
from enum import Enum
from inspect import getsource
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, TypeAdapter

from defacer.commands.common.exit_codes import ExitCode
from defacer.field_texts import field_texts
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.settings import PREFIX
from defacer.report.changes import ChangeCode
from defacer.report.texts import ADVICE
from tests.terraform import blocks

TYPES = {"string": "text", "integer": "integer", "number": "number", "array": "list", "object": "object"}


def settings_table(group: type[BaseModel]) -> str:
    """Return the table of a group of settings, by environment variable."""
    texts = _meanings_of(group)
    required = group.model_json_schema().get("required", ())
    rows = (
        (
            f"`{PREFIX}{name.upper()}`",
            "required" if name in required else _default_of(field),
            _values_of(field),
            texts[name],
        )
        for name, field in group.model_json_schema()["properties"].items()
    )
    return _table(("variable", "default", "allowed", "meaning"), rows)


def field_table(record: type[Any], *, with_default: bool = False) -> str:
    """Return the table of the fields of a document."""
    schema = TypeAdapter(record).json_schema(mode="serialization")
    columns = ("field", "allowed", "default", "meaning") if with_default else ("field", "type", "meaning")
    texts, rows = _meanings_of(record), []
    for name, field in schema["properties"].items():
        values = _values_of(field, schema.get("$defs", {}))
        default = [_default_of(field)] if with_default else []
        rows.append((f"`{name}`", values, *default, texts.get(name, "")))
    return _table(columns, rows)


def error_code_table() -> str:
    """Return the table of error codes."""
    texts = _texts_of(ErrorCode)
    rows = (
        (f"`{code}`", *texts[code.name].split(" | "), "yes" if code.can_try_again else "no")
        for code in ErrorCode
    )
    return _table(("code", "meaning", "what to do", "again"), rows)


def exit_code_table() -> str:
    """Return the table of the exit codes of the commands."""
    texts = _texts_of(ExitCode)
    return _table(("exit code", "meaning"), ((str(int(code)), texts[code.name]) for code in ExitCode))


def change_code_table() -> str:
    """Return the table of the codes of changes."""
    texts = _texts_of(ChangeCode)
    return _table(("code", "meaning"), ((f"`{code}`", texts[code.name]) for code in ChangeCode))


def _texts_of(codes: type[Enum]) -> dict[str, str]:
    """Return the text below each member of an enum, by the name of the member."""
    (members,) = (node.body for node in ast.parse(getsource(codes)).body if isinstance(node, ast.ClassDef))
    return {
        member.targets[0].id: " ".join(ast.literal_eval(text.value).split())
        for member, text in pairwise(members)
        if isinstance(member, ast.Assign)
        and isinstance(member.targets[0], ast.Name)
        and isinstance(text, ast.Expr)
    }


def terraform_table() -> str:
    """Return the table of the variables in infra/variables.tf that have a default."""
    rows = (
        (f"`{name}`", f"`{json.dumps(body['default'])}`", body["description"])
        for name, body in blocks("variable")
        if "default" in body
    )
    return _table(("variable", "default", "meaning"), rows)


def advice_table() -> str:
    """Return the table of the codes of warnings about targets."""
    return _table(("code", "advice"), ((f"`{code}`", advice) for code, advice in ADVICE.items()))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return (
        "".join(f"| {' | '.join(line)} |\n" for line in lines)
        .replace("|  |", "| |")
        .replace("| --- ", "|---")
    )


def _meanings_of(record: type[object]) -> dict[str, str]:
    """Return the text below each field as one line."""
    return {name: " ".join(text.split()) for name, text in field_texts(record).items()}


def _default_of(field: dict[str, Any]) -> str:
    default = field.get("default")
    if default in (None, ""):
        return "none"
    if isinstance(default, int | float) and not isinstance(default, bool):
        return f"{default:,.15g}"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _values_of(field: dict[str, Any], definitions: dict[str, Any] | None = None) -> str:
    """Return the type of a field, or the values that are allowed."""
    if "anyOf" in field:
        return ", ".join(
            _values_of(kind, definitions) for kind in field["anyOf"] if kind.get("type") != "null"
        )
    if "$ref" in field:
        field = (definitions or {})[field["$ref"].rpartition("/")[2]]
        if "enum" in field:  # it has a table of its own
            return "text"
    if "const" in field or "enum" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "boolean":
        return "`true`, `false`"
    return _bounds_of(field) or TYPES[field.get("type", "array")]


def _bounds_of(field: dict[str, Any]) -> str:
    """Return the bounds of a number or a text; "" if it has none."""
    if field.get("pattern", "").startswith("^("):
        return ", ".join(f"`{value}`" for value in field["pattern"].strip("^$()").split("|"))
    if "minLength" in field:
        return f"{field['minLength']} characters or more"
    if "exclusiveMinimum" in field:
        return f"above {field['exclusiveMinimum']:g}, up to {field['maximum']:,.15g}"
    if "maximum" in field:
        return f"{field['minimum']:,.15g} to {field['maximum']:,.15g}"
    return f"{field['minimum']:,.15g} or more" if "minimum" in field else ""
