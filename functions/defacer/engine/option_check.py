"""Check the options that a user chose, before any work begins."""

import re
from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from defacer.engine.errors import ArgumentError
from defacer.engine.options import Options
from defacer.engine.recognition import recognition_levels
from defacer.engine.runtime import torch_package
from defacer.picture_formats import NAMES

RANGES = {"strength": (1, 3), "quality": (0, 40)}
EXAMPLES = {
    "strength": "1.5",
    "color": "'#1a2b3c'",
    "match_threshold": "0.9",
    "quality": "18",
    "strict_timing": "True",
    "copy_untouched": "True",
}
COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def check_options(options: Options, *, has_replacement: bool) -> None:
    """Raise ArgumentError for a value that is not allowed, and MissingPackageError for one that needs PyTorch."""
    check_values(options)
    if options.mode == "image" and not has_replacement:
        raise ArgumentError(
            f"Mode image needs a picture that covers the faces. Name a {NAMES} file as replacement."
        )
    if options.mode != "image" and has_replacement:
        raise ArgumentError(
            f"The replacement is for mode image, not {options.mode}. Remove it, or change the mode."
        )
    if options.match_threshold is not None:
        _check_match_threshold(options.match_threshold, options.recognizer)
    if options.detector == "mtcnn":
        torch_package.require("detector mtcnn", instead="centerface")
    if options.recognizer == "facenet-vggface2":
        torch_package.require("recognizer facenet-vggface2", instead="sface")


def check_values(options: Options) -> None:
    """Raise ArgumentError for a value of a wrong type, or one that is not allowed with any other options."""
    hints = get_type_hints(Options)
    for field in fields(options):
        _check_type(field.name, getattr(options, field.name), hints[field.name])
    for name, (low, high) in RANGES.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise ArgumentError(f"{name} is {value:g}, allowed are {low} to {high}. Change it.")
    if not COLOR.fullmatch(options.color):
        raise ArgumentError(f"{options.color!r} is not a color. Write it like #1a2b3c.")


def _check_type(name: str, value: object, hint: Any) -> None:
    """Raise ArgumentError unless the value is one of those of a Literal, or of the type."""
    is_optional = NoneType in get_args(hint)
    parts = [part for part in get_args(hint) if part is not NoneType] if is_optional else [hint]
    if is_optional and value is None:
        return
    choices = [choice for part in parts for choice in get_args(part)]
    if choices and value not in choices:
        raise ArgumentError(f"{name} is {value!r}, allowed are {', '.join(choices)}. Choose one of them.")
    types = (*parts, int) if float in parts else tuple(parts)
    if not choices and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
        raise ArgumentError(f"{name} is {value!r}, allowed is a value such as {EXAMPLES[name]}. Change it.")


def _check_match_threshold(distance: float, recognizer: str) -> None:
    largest = recognition_levels.calibration_of(recognizer).max_match_threshold
    if not 0 < distance <= largest:
        raise ArgumentError(
            f"Match threshold {distance:g} is out of range. For {recognizer} it is above 0 and at most {largest:g}, so "
            "that at most 1 stranger in 1,000 is kept."
        )
