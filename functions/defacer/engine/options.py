"""The options of the engine: the fields of a channel's policy that are about faces and encoding."""

from dataclasses import dataclass
from typing import Literal, get_args

Mode = Literal["blur", "pixelate", "solid", "image"]
DetectorName = Literal["centerface", "mtcnn"]
RecognizerName = Literal["sface", "facenet-casia", "facenet-vggface2"]
Recognition = Literal["strict", "balanced", "lenient"]
OnDecodeError = Literal["refuse", "hide"]
VerifyLevel = Literal["off", "standard", "strict"]
SoundMode = Literal["convert", "copy_only"]
SizeLimit = Literal["like-source", "any"]
MODES = get_args(Mode)


@dataclass(frozen=True)
class Options:
    """How to redact a video. `recognition` names a match threshold, unless `match_threshold` sets one.

    `strength` (1 to 3) is how much coarser than usual a face is hidden. `color` is for mode solid. `quality` is x264's
    rate factor, from 0 (lossless) to 40. `verify` is how a second detector checks the result: not at all, in five
    frames a second, or in every frame. `strict_timing` refuses a video whose times have to be corrected. `sound` is
    what happens to sound that can't be copied: convert it, or refuse the video. `size` limits
    the bit rate by the source's, or does not. `copy_untouched` copies groups of pictures where nothing is hidden.
    """

    mode: Mode = "blur"
    strength: float = 1.0
    color: str = "#000000"
    detector: DetectorName = "centerface"
    recognizer: RecognizerName = "sface"
    recognition: Recognition | None = "balanced"
    match_threshold: float | None = None
    quality: int = 18
    on_decode_error: OnDecodeError = "refuse"
    strict_timing: bool = False
    verify: VerifyLevel = "standard"
    sound: SoundMode = "convert"
    size: SizeLimit = "like-source"
    copy_untouched: bool = False
