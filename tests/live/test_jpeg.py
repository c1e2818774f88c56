"""Frames that cost too much to decode are refused before they are decoded."""

import pytest

from defacer.engine.errors import PictureError
from defacer.web.live.jpeg import Decoder
from tests.clips import astronaut, encode_picture
from tests.hostile import progressive_jpeg


@pytest.mark.parametrize(
    ("side", "scans", "said"),
    [
        (2_800, 11, "has 11 scans of 2800x2800 pixels, at most 10 of this size"),
        (640, 101, "has 101 scans, at"),
    ],
)
def test_a_frame_of_too_many_scans_is_refused(side: int, scans: int, said: str) -> None:
    with pytest.raises(PictureError, match=said):
        Decoder().decode(progressive_jpeg(side, scans))


def test_an_ordinary_frame_is_decoded() -> None:
    frame = Decoder().decode(encode_picture(astronaut(), ".jpg"))
    assert (frame.width, frame.height) == (300, 300)
