"""Decode a segment while it is encoded, and compare the decoded frames with the frames that were encoded.

A thread of its own decodes the packets, so no second pass over the file is necessary.
"""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext

CELLS = (160, 90)  # columns and rows: frames are compared by the mean gray level of each cell
ROW_STEP = 4  # every fourth row is read, which is precise enough and takes 40 % of the time
MAX_DIFFERENCE = 20.0  # gray levels, of 255, between a cell before and after it was encoded
MIN_DENSE_RATE = (
    20  # frames a second: from this rate on, only I and P frames are decoded, a third of all frames
)
BATCH = (
    8  # packets that the thread decodes together, because waking it for each one takes as long as decoding
)
MAX_PENDING = 4  # batches that wait for the decoder, so that a long video does not fill the memory


Cells = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class MeasuredFrame:
    """The time of a frame, and the mean gray levels of its cells."""

    pts: int
    cells: Cells

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """Measure a frame."""
        return cls(frame.pts or 0, _cell_means(frame))


class Readback(AbstractContextManager["Readback"]):
    """Compares decoded frames with the frames that were encoded.

    With `every_frame` all frames are compared, else the I and P frames. With `has_copies` the P frames can depend on B
    frames, because another encoder wrote a part of them. `differing` are the times of frames that
    changed, or that the decoder dropped. `is_readable` is False if the decoder refused a packet.
    """

    def __init__(self, every_frame: bool, has_copies: bool = False):
        self.differing: set[int] = set()
        self.is_readable = True
        self._every_frame = every_frame
        self._skipped: Literal["NONREF", "BIDIR"] = "NONREF" if has_copies else "BIDIR"
        self._decoder: VideoCodecContext | None = None
        self._expected: deque[MeasuredFrame] = deque()
        self._not_compared: set[int] = set()  # times of frames that have to be compared
        self._packets: list[av.Packet[Any] | None] = []  # the next batch
        self._pending: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, "readback")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def expect(self, frame: av.VideoFrame) -> None:
        """Store the cells of a frame that is encoded next. Call it in the order of time."""
        self._expected.append(MeasuredFrame.of(frame))

    def expect_measured(self, frames: Iterable[MeasuredFrame]) -> None:
        """Store the cells of frames that are written next. Call it in the order of time."""
        self._expected.extend(frames)

    def decode_packets(self, packets: "list[av.Packet[Any]]", encoder: VideoCodecContext) -> None:
        """Decode packets, in encoding order, and compare their frames."""
        for packet in packets:
            copy = av.Packet(bytes(packet))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            decoder = self._decoder_for(encoder)
            if packet.is_keyframe or decoder.skip_frame == "DEFAULT":
                self._not_compared.add(packet.pts or 0)
            self._packets.append(copy)
            if len(self._packets) >= BATCH:
                self._submit_batch(decoder)

    def finish(self) -> None:
        """Compare the last frames, which the decoder still holds. Raises the errors of the thread."""
        if self._decoder is not None:
            self._packets.append(None)
            self._submit_batch(self._decoder)
        while self._pending:
            self._pending.popleft().result()
        self.differing |= self._not_compared  # the decoder dropped these frames

    def _submit_batch(self, decoder: VideoCodecContext) -> None:
        self._pending.append(self._thread.submit(self._decode, self._packets, decoder))
        self._packets = []
        while len(self._pending) > MAX_PENDING:
            self._pending.popleft().result()

    def _decoder_for(self, encoder: VideoCodecContext) -> VideoCodecContext:
        if self._decoder is None:
            name = "hevc" if encoder.name == "libx265" else "h264"
            decoder = cast(VideoCodecContext, av.CodecContext.create(name, "r"))
            decoder.extradata = encoder.extradata
            decoder.thread_type = "NONE"
            dense = encoder.framerate is not None and encoder.framerate >= MIN_DENSE_RATE
            decoder.skip_frame = "DEFAULT" if self._every_frame or not dense else self._skipped
            self._decoder = decoder
        return self._decoder

    def _decode(self, packets: "list[av.Packet[Any] | None]", decoder: VideoCodecContext) -> None:
        for packet in packets:
            try:
                for frame in decoder.decode(packet):
                    self._compare(frame)
            except av.error.FFmpegError:
                self.is_readable = False

    def _compare(self, frame: av.VideoFrame) -> None:
        pts = frame.pts or 0
        self._not_compared.discard(pts)
        while self._expected and self._expected[0].pts < pts:
            self._expected.popleft()
        expected = self._expected[0] if self._expected else None
        if (
            expected is None
            or expected.pts != pts
            or frame.is_corrupt
            or _has_difference(expected.cells, _cell_means(frame), frame.format.components[0].bits)
        ):
            self.differing.add(pts)


def _has_difference(one: Cells, other: Cells, bits: int) -> bool:
    return float(cv2.absdiff(one, other).max()) > MAX_DIFFERENCE * (1 << (bits - 8))


def _cell_means(frame: av.VideoFrame) -> Cells:
    """Return the mean gray levels of the cells of a planar frame, in its bit depth: (90, 160)."""
    plane, bits = frame.planes[0], frame.format.components[0].bits
    samples = np.frombuffer(memoryview(plane), np.uint8 if bits == 8 else "<u2")
    stride = plane.line_size // samples.itemsize
    rows = samples[: plane.height * stride].reshape(plane.height, stride)[::ROW_STEP, : plane.width]
    means: Cells = cv2.resize(rows, CELLS, interpolation=cv2.INTER_AREA).astype(rows.dtype, copy=False)
    return means
