"""The table of inputs from outside the code, each with its unit, date and source."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("inputs.toml")


@dataclass(frozen=True)
class Input:
    """One row."""

    value: float
    unit: str
    date: str
    source: str


class Inputs:
    """All rows, by name: `inputs["cpu_second"]` is the value."""

    def __init__(self, rows: Mapping[str, Input]):
        self._rows = rows

    def __getitem__(self, name: str) -> float:
        return self._rows[name].value

    def __iter__(self) -> Iterator[tuple[str, Input]]:
        return iter(self._rows.items())


@cache
def inputs() -> Inputs:
    """Return the table. Raise TypeError for a row with a missing or unknown field."""
    return Inputs({name: Input(**row) for name, row in tomllib.loads(TABLE.read_text("utf-8")).items()})
