"""The texts below the fields of a document. They are read on demand, because pydantic would read them at each start."""

import ast
from inspect import cleandoc, getsource
from itertools import pairwise
from textwrap import dedent


def field_texts(record: type[object]) -> dict[str, str]:
    """Return the text below each field of a class and of the classes that it inherits from."""
    texts: dict[str, str] = {}
    for kind in reversed(record.__mro__):
        if kind.__module__.partition(".")[0] == __name__.partition(".")[0]:
            texts |= _own_texts(kind)
    return texts


def _own_texts(kind: type[object]) -> dict[str, str]:
    (definition,) = ast.parse(dedent(getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 - the source of a class
    return {
        field.target.id: cleandoc(text.value.value)
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
