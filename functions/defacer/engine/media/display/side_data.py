"""Read the side data of frames. PyAV raises ValueError for kinds that it does not know, such as EXIF."""

from collections.abc import Iterable
from typing import Any, cast

import av
from av.sidedata import sidedata

DISPLAY_MATRIX, STEREO_3D, SPHERICAL = "DISPLAYMATRIX", "STEREO3D", "SPHERICAL"
VIEW_ID = "UNKNOWN_29"  # of HEVC with several views (AV_FRAME_DATA_VIEW_ID); FFmpeg decodes the main view


def side_data_of(frame: av.VideoFrame) -> dict[str, bytes]:
    """Return the side data of a frame by the name of its kind. An unknown kind is "UNKNOWN_" and its number.

    Call it once for a stream: in PyAV a frame and its side data refer to each other, so that the frame stays in memory.
    Do not call it for a frame that was made writable, because PyAV would read freed memory.
    """
    return {data.type.name: bytes(data) for data in cast(Iterable[sidedata.SideData], frame.side_data)}


def _unknown_kind(kinds: type[sidedata.Type], number: object) -> Any:
    """Return a member for a number that the enumeration lacks, as `enum.IntFlag` does."""
    member: Any = object.__new__(kinds)
    member._name_, member._value_ = f"UNKNOWN_{number}", number
    return member


# PyAV creates all side data of a frame together, so one unknown kind makes all others unreadable.
sidedata.Type._missing_ = classmethod(_unknown_kind)  # type: ignore[assignment,method-assign]
