"""Make the page README.md with the table of inputs. `python -m tests.inputs` writes it."""

from collections.abc import Mapping
from pathlib import Path

from tests.inputs.all_rows import ROWS
from tests.inputs.rows import Row

README = Path(__file__).with_name("README.md")
HEAD = """# Supported inputs and their results

Each row is a file that `rows.py` writes. It runs through the engine in several segments, and through the whole pipeline
if the last column says "emulator". A result has:

- the same frames at the same times, and the same sound packets
- the same size, orientation, pixel aspect ratio, colors and fields
- at least 40 dB of PSNR outside of faces
- no data that identifies or locates a person
- its index first, and no warning from ffprobe
- the same length of picture, sound and file, within one frame

Segments that begin at each key frame have the same frames as the whole file. A file that is refused has an error
message, and nothing is published.

`make test TESTS=tests/inputs` checks all of this and the table. `.venv/bin/python -m tests.inputs` writes the table.
"""


def line(row: Row, outcome: str) -> str:
    """Return the line of a row; `outcome` describes the result of its run."""
    if row.expected == "same":
        expected = f"processed, {_codec(row)}"
    else:
        expected = "refused: " + " or ".join(f'"… {part} …"' for part in row.expected.split("|"))
        outcome = "nothing published"
    return f"| {row.name} | {expected} | {outcome} | {'engine, emulator' if row.emulated else 'engine'} |"


def document(outcomes: Mapping[str, str]) -> str:
    """Return the whole page. `outcomes` is from the name of a row to the outcome of its run."""
    parts = [HEAD]
    for group in dict.fromkeys(row.group for row in ROWS):
        parts.append(f"\n## {group.capitalize()}\n\n| input | expected | result | runs through |")
        parts.append("|---|---|---|---|")
        parts += [line(row, outcomes[row.name]) for row in ROWS if row.group == group]
    return "\n".join(parts) + "\n"


def _codec(row: Row) -> str:
    name = "HEVC" if row.codec == "hevc" else "H.264"
    return f"{name} {row.pixel_format or 'yuv420p'}"
