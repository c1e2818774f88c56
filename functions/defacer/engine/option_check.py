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
COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def check_options(options: Options, *, has_replacement: bool) -> None:
    """Raise ArgumentError for a value that is not allowed, and MissingPackageError for one that needs PyTorch."""
    hints = get_type_hints(Options)
    for field in fields(options):
        _check_choice(field.name, getattr(options, field.name), hints[field.name])
    for name, (low, high) in RANGES.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise ArgumentError(f"{name} is {value}, allowed are {low} to {high}. Change it.")
    if not COLOR.fullmatch(options.color):
        raise ArgumentError(f"color is {options.color!r}, which is not a color. Write it like #1a2b3c.")
    if options.mode == "image" and not has_replacement:
        raise ArgumentError(
            f"mode image needs a picture that covers the faces. Name a {NAMES} file as replacement."
        )
    if options.match_threshold is not None:
        _check_match_threshold(options.match_threshold, options.recognizer)
    if options.detector == "mtcnn":
        torch_package.require("detector mtcnn", instead="centerface")
    if options.recognizer == "facenet-vggface2":
        torch_package.require("recognizer facenet-vggface2", instead="sface")


def _check_choice(name: str, value: object, hint: Any) -> None:
    """Raise ArgumentError unless the value is one of those of a Literal."""
    parts = (
        [part for part in get_args(hint) if part is not NoneType] if NoneType in get_args(hint) else [hint]
    )
    choices = [choice for part in parts for choice in get_args(part)]
    if choices and value is not None and value not in choices:
        raise ArgumentError(f"{name} is {value!r}, allowed are {', '.join(choices)}. Choose one of them.")


def _check_match_threshold(distance: float, recognizer: str) -> None:
    largest = recognition_levels.calibration_of(recognizer).max_match_threshold
    if not 0 < distance <= largest:
        raise ArgumentError(
            f"match threshold {distance:g} is out of range. For {recognizer} it is above 0 and at most {largest:g}, so "
            "that at most 1 stranger in 1,000 is kept."
        )
