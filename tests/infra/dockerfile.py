"""The stages of infra/Dockerfile, parsed."""

import re

from tests.terraform import INFRA

DOCKERFILE = INFRA / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Return each stage's source and instructions, by name."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    current: list[tuple[str, str]] = []
    for name, rest in instructions():
        if name == "FROM":
            source, _, stage = rest.partition(" AS ")
            current = []
            found[stage] = (source, current)
        else:
            current.append((name, rest))
    return found


def inherited_instructions(stage: str) -> list[tuple[str, str]]:
    """Return a stage's instructions after those of its source stages."""
    source, own = stages()[stage]
    return (inherited_instructions(source) if source in stages() else []) + own
