"""Choose the channel layout of converted sound, and bring decoded frames into it.

FLAC and AAC state the places of their channels only for a few layouts. In any other layout, players send channels to
wrong speakers.
"""

from collections.abc import Sequence

import av
import numpy as np
from av import AudioFrame
from av.audio.layout import AudioLayout
from numpy.typing import NDArray

from defacer.engine.media.sound.audio_planes import planes_of

STEREO = 2  # channels
RATE = 48_000
MixMatrix = NDArray[np.float32]


def choose_layout(layout: AudioLayout, possible: Sequence[str]) -> str:
    """Return the first of the possible layouts that has a place for each channel of a source.

    If there is none, the channels are mixed into the last layout, or into stereo if their places are unknown.
    """
    reading = read_layout(layout, possible)
    if reading is None:
        return "stereo"
    return next((name for name in possible if _keeps_channels(reading, name)), possible[-1])


def read_layout(layout: AudioLayout, possible: Sequence[str]) -> str | None:
    """Return the layout that says where the channels of a source belong; None if that is unknown.

    Channels without names are those of a possible layout with as many channels, as players assume.
    """
    if layout.name in possible:
        return layout.name
    same = next((name for name in possible if AudioLayout(name).nb_channels == layout.nb_channels), None)
    if layout.nb_channels <= STEREO:
        return same
    is_named = all(channel.name not in ("NONE", "UNKNOWN") for channel in layout.channels)
    if is_named and _mix_matrix(layout.name, "stereo") is not None:
        return same if same and _is_identity(_mix_matrix(layout.name, same)) else layout.name
    unnamed = f"{layout.nb_channels} channels"
    return same or (unnamed if _mix_matrix(unnamed, "stereo") is not None else None)


def mixes_channels(layout: AudioLayout, name: str, possible: Sequence[str]) -> bool:
    """Return whether some channels of a source are mixed when it is converted to the layout `name`."""
    reading = read_layout(layout, possible)
    return reading is None or not _keeps_channels(reading, name)


def relabel(frame: AudioFrame, layout: str) -> AudioFrame:
    """Return a frame with the same samples in the channels of another layout."""
    if frame.layout.name == layout:
        return frame
    copy = AudioFrame(format=frame.format, layout=layout, samples=frame.samples)
    copy.sample_rate = frame.sample_rate
    for plane, original in zip(planes_of(copy), planes_of(frame), strict=True):
        plane.update(bytes(original)[: plane.buffer_size].ljust(plane.buffer_size, b"\0"))
    return copy


def mix_to_stereo(frame: AudioFrame) -> AudioFrame:
    """Return a frame with the mean of the odd channels on the left, and that of the even ones on the right."""
    (packed,) = av.AudioResampler("flt", frame.layout, frame.sample_rate).resample(frame)
    channels = packed.to_ndarray().reshape(-1, frame.layout.nb_channels)
    sides = [channels[:, side::2].mean(axis=1) for side in (0, 1)]
    mixed = AudioFrame.from_ndarray(np.stack(sides).astype(np.float32), format="fltp", layout="stereo")
    mixed.sample_rate = frame.sample_rate
    return mixed


def _keeps_channels(layout: str, name: str) -> bool:
    """Return whether FFmpeg converts each channel of a layout to a channel of its own."""
    matrix = _mix_matrix(layout, name)
    if matrix is None:
        return False
    is_moved = np.isin(matrix, (0, 1)).all()
    return bool(is_moved and (matrix.sum(axis=0) == 1).all() and (matrix.sum(axis=1) <= 1).all())


def _is_identity(matrix: MixMatrix | None) -> bool:
    return matrix is not None and np.array_equal(matrix, np.eye(len(matrix)))


def _mix_matrix(layout: str, name: str) -> MixMatrix | None:
    """Return FFmpeg's matrix from one layout to another: a row for each channel of the result. None if it has none."""
    count = AudioLayout(layout).nb_channels
    frame = AudioFrame(format="flt", layout=layout, samples=count)  # each sample is of another channel
    frame.sample_rate = RATE
    frame.planes[0].update(
        np.eye(count, dtype=np.float32).tobytes().ljust(frame.planes[0].buffer_size, b"\0")
    )
    try:
        (mixed,) = av.AudioResampler("fltp", name, RATE).resample(frame)
    except av.error.FFmpegError:
        return None
    return np.stack([np.frombuffer(bytes(plane), np.float32)[:count] for plane in planes_of(mixed)])
