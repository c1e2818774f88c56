"""The planes of a sound frame. For a frame of eight planar channels, PyAV 18.1 lists a ninth plane, which is wild."""

from av import AudioFrame
from av.audio.format import AudioFormat
from av.audio.layout import AudioLayout
from av.audio.plane import AudioPlane


def planes_of(frame: AudioFrame) -> tuple[AudioPlane, ...]:
    """Return one plane for each channel, or one for all if the samples are packed."""
    return tuple(frame.planes[: frame.layout.nb_channels if frame.format.is_planar else 1])


def make_silence(
    sample_format: str | AudioFormat, layout: str | AudioLayout, rate: int, samples: int
) -> AudioFrame:
    """Return a frame of silence with `rate` samples a second. Zero bytes must be silence in the format."""
    frame = AudioFrame(format=sample_format, layout=layout, samples=samples)
    frame.sample_rate = rate
    for plane in planes_of(frame):
        plane.update(bytes(plane.buffer_size))
    return frame
