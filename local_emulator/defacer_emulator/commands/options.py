"""The options that several commands of the emulator share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Keep = Annotated[
    list[Path],
    typer.Option(
        "--keep",
        metavar="ME.jpg",
        help="A picture with one face: this person stays visible. The file name names the person. Repeatable. "
        "Pictures of earlier uploads stay in the channel.",
    ),
]
Mode = Annotated[
    Literal["blur", "pixelate", "solid", "image"] | None, typer.Option("--mode", help="How to hide faces.")
]
Replacement = Annotated[
    Path | None,
    typer.Option("--replacement", metavar="PICTURE", help="The picture that covers faces in mode image."),
]
PubSub = Annotated[
    Literal["auto", "google", "builtin"],
    typer.Option(
        "--pubsub",
        help="Google's Pub/Sub emulator, the built-in one, or (auto) Google's if it is installed.",
    ),
]
