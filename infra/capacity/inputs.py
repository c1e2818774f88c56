"""The table of inputs from outside the code, each with its unit, date and source."""

import tomllib
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


def read_rows() -> dict[str, Input]:
    """Return the rows by name. Raise TypeError for a row with a missing or unknown field."""
    return {name: Input(**row) for name, row in tomllib.loads(TABLE.read_text("utf-8")).items()}


@cache
def inputs() -> dict[str, float]:
    """Return the values by name."""
    return {name: row.value for name, row in read_rows().items()}
