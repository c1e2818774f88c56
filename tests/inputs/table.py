"""The table of inputs as the repository shows it: README.md beside this file, written by `python -m tests.inputs`."""

from collections.abc import Mapping
from pathlib import Path

from tests.inputs.rows import ROWS, Row

README = Path(__file__).with_name("README.md")
HEAD = """# What goes in, and what comes out

Each row is a file that `rows.py` makes. It goes through the engine in several segments, and where "emulator" says so
through the whole pipeline too, and comes back: the same frames at the same times, the same sound packets, size,
orientation, shape of pixels, colours and fields, at least 40 dB of PSNR away from faces, nothing that names or places
anybody, the index first, and no warning from ffprobe. Picture, sound and file last as long, within one frame. Segments
that begin at each key frame hold the same frames as the whole. Or it is refused with a sentence, and nothing is
published.
`make test TESTS=tests/inputs` holds all of it and this table; `.venv/bin/python -m tests.inputs` writes it anew.
"""


def line(row: Row, found: str) -> str:
    """The row's line; `found` is what came out of the run."""
    if row.expected == "same":
        out = f"comes back, {_codec(row)}"
    else:
        out = "refused: " + " or ".join(f'"… {part} …"' for part in row.expected.split("|"))
        found = "nothing published"
    return f"| {row.name} | {out} | {found} | {'engine, emulator' if row.emulated else 'engine'} |"


def document(found: Mapping[str, str]) -> str:
    """The whole page, of what was found for each row's name."""
    parts = [HEAD]
    for group in dict.fromkeys(row.group for row in ROWS):
        parts.append(
            f"\n## {group.capitalize()}\n\n| what goes in | what must come out | what came out | through |"
        )
        parts.append("|---|---|---|---|")
        parts += [line(row, found[row.name]) for row in ROWS if row.group == group]
    return "\n".join(parts) + "\n"


def _codec(row: Row) -> str:
    name = "HEVC" if row.codec == "hevc" else "H.264"
    return f"{name} {row.pixel_format or 'yuv420p'}"
