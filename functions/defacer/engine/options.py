"""What a caller may choose: the fields and values of a channel's policy."""

from dataclasses import dataclass

MODES = ("blur", "pixelate", "solid", "image")
CHECKS = ("off", "standard", "strict")


@dataclass(frozen=True)
class Options:
    """How to do it. `recognition` names the match threshold, unless `match_threshold` is one."""

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
