"""The options of `render` and `job rerender` that correct a report: drawn masks, new searches, imported tracks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from defacer.engine.manual_corrections import Corrections

MaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--mask",
        metavar="FROM-TO@X,Y,W,H",
        help="Hide a box from FROM to TO, such as 0:12-0:14.5@100,50,80,90. It follows the face inside it. Add "
        ";TIME@X,Y,W,H to correct it at a time. Without FROM-TO@, hide it in the whole video. Repeatable.",
    ),
]
MasksOption = Annotated[
    Path | None, typer.Option("--masks", metavar="FILE", help="A JSON file with many masks.")
]
NoFollowOption = Annotated[
    bool,
    typer.Option("--no-follow", help="Keep masks where they are drawn. They move only between corrections."),
]
LookAgainOption = Annotated[
    list[str] | None,
    typer.Option(
        "--look-again",
        metavar="FROM-TO",
        help="Search this time span again, and hide the faces that were missed. Repeatable.",
    ),
]


def read_corrections(
    masks: list[str] | None, file: Path | None, look_again: list[str] | None, *, follow: bool
) -> "Corrections | None":
    """Return the corrections of these options, or None without any. Raise ArgumentError for a wrong one."""
    if not (masks or file or look_again):
        return None
    from defacer.engine.corrections.drawn_mask import parse_mask, parse_range, read_masks
    from defacer.engine.manual_corrections import Corrections

    drawn = [parse_mask(text, follow=follow) for text in masks or ()]
    drawn += read_masks(file, follow=follow) if file else []
    return Corrections(tuple(drawn), tuple(map(parse_range, look_again or ())))
