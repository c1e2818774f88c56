"""The options of `run` and `render` that choose how faces are hidden. They become the engine's `Options`."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from defacer.commands.common.exit_codes import UsageError
from defacer.engine.options import (
    DetectorName,
    Mode,
    OnDecodeError,
    Options,
    Recognition,
    RecognizerName,
    SizeLimit,
    SoundMode,
    VerifyLevel,
)

DEFAULT = re.compile(r"\[default: .*\]$")
ModeOption = Annotated[Mode | None, typer.Option("--mode", help="How a face is hidden. [default: blur]")]
StrengthOption = Annotated[
    float | None,
    typer.Option("--strength", metavar="1-3", help="How much coarser than usual. [default: 1]"),
]
ColorOption = Annotated[
    str | None, typer.Option("--color", metavar="#RRGGBB", help="For --mode solid. [default: black]")
]
ReplacementOption = Annotated[
    Path | None, typer.Option("--replacement", metavar="PICTURE", help="The picture for --mode image.")
]
QualityOption = Annotated[
    int | None,
    typer.Option("--quality", metavar="0-40", help="x264's rate factor: 0 lossless, 40 poor. [default: 18]"),
]
SizeOption = Annotated[
    SizeLimit | None,
    typer.Option(
        "--size",
        help="How large the result can be: about as large as the source, or as large as --quality needs. "
        "[default: like-source]",
    ),
]
VerifyOption = Annotated[
    VerifyLevel | None,
    typer.Option(
        "--verify",
        help="Check the result with a second detector: not at all, in five frames a second, or in every frame. "
        "[default: standard]",
    ),
]
DetectorOption = Annotated[
    DetectorName | None,
    typer.Option("--detector", help="The model that finds faces. [default: centerface]"),
]
RecognizerOption = Annotated[
    RecognizerName | None,
    typer.Option("--recognizer", help="The model that recognizes people. [default: sface]"),
]
RecognitionOption = Annotated[
    Recognition | None,
    typer.Option(
        "--recognition",
        help="How much a face must look like a kept person to stay visible. Of 10,000 strangers, strict keeps fewer "
        "than 1, balanced 1 and lenient 4. They keep 89, 97 and 98 % of the tracks of kept people. "
        "[default: balanced]",
    ),
]
MatchThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--match-threshold",
        metavar="D",
        help="For experts, instead of --recognition: the largest distance that matches. Needs --recognizer.",
    ),
]
OnDecodeErrorOption = Annotated[
    OnDecodeError | None,
    typer.Option(
        "--on-decode-error",
        help="Frames that can't be decoded: refuse the video, or make them black. [default: refuse]",
    ),
]
CopyUntouchedOption = Annotated[
    bool | None,
    typer.Option(
        "--copy-untouched",
        help="Copy groups of pictures where nothing is hidden, instead of encoding them. H.264 only. It is "
        "faster, and these frames keep every pixel.",
    ),
]
StrictTimingOption = Annotated[
    bool | None,
    typer.Option("--strict-timing", help="Refuse a video if the times of its frames have to be corrected."),
]
SoundOption = Annotated[
    SoundMode | None,
    typer.Option(
        "--sound",
        help="Sound that an MP4 can't hold, or that common players can't play: convert it, or refuse the video. "
        "[default: convert]",
    ),
]


class RenderCommand(TyperCommand):
    """A command whose options have their values from the report of an earlier run, and its help says so."""

    def __init__(self, *arguments: Any, **attributes: Any):
        super().__init__(*arguments, **attributes)
        for option in self.params:
            if isinstance(option, TyperOption) and option.help is not None:
                option.help = DEFAULT.sub("[default: as in the report]", option.help)


def with_given(options: Options, **chosen: Any) -> Options:
    """Return `options` with the values that are set on the command line. None is not set.

    Raises UsageError for two values that conflict.
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    if (distance := given.get("match_threshold")) is not None:
        if "recognition" in given:
            raise UsageError(
                f"--match-threshold and --recognition {given['recognition']} are both given. Remove one."
            )
        if "recognizer" not in given:
            raise UsageError(
                f"--match-threshold {distance:g} is given without --recognizer. Name the recognizer that the distance "
                "was measured for, such as --recognizer sface."
            )
        given["recognition"] = None
    result = replace(options, **given)
    if "color" in given and result.mode != "solid":
        raise UsageError(
            f"--color {result.color} is for --mode solid, not {result.mode}. Remove it, or change the mode."
        )
    if "strength" in given and result.mode == "solid":
        raise UsageError(
            f"--strength {result.strength:g} has no effect in --mode solid. Remove it, or change the mode."
        )
    return result
