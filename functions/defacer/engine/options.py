"""The options of the engine: the fields of a channel's policy that are about faces and encoding."""

from dataclasses import dataclass

MODES = ("blur", "pixelate", "solid", "image")
VERIFY_LEVELS = ("off", "standard", "strict")


@dataclass(frozen=True)
class Options:
    """How to redact a video. `recognition` names a match threshold, unless `match_threshold` sets one."""

    mode: str = "blur"
    strength: float = 1.0
    color: str = "#000000"
    detector: str = "centerface"
    recognizer: str = "sface"
    recognition: str | None = "balanced"
    match_threshold: float | None = None
    quality: int = 18
    on_decode_error: str = "refuse"
    verify: str = "standard"
