"""Decode frames as JPEG, and refuse frames that cost too much before they are decoded."""

import pytest

from defacer.engine.errors import PictureError
from defacer.web.live.jpeg import Decoder
from tests.clips import astronaut, encode_picture
from tests.hostile import progressive_jpeg


@pytest.mark.parametrize(
    ("side", "scans", "message"),
    [
        (2_800, 11, "has 11 scans of 2800x2800 pixels, at most 10 of this size"),
        (640, 101, "has 101 scans, at"),
    ],
)
def test_frame_with_too_many_scans_is_refused(side: int, scans: int, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        Decoder().decode(progressive_jpeg(side, scans))


def test_ordinary_frame_is_decoded() -> None:
    frame = Decoder().decode(encode_picture(astronaut(), ".jpg"))
    assert (frame.width, frame.height) == (300, 300)
