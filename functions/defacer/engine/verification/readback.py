"""Decode a segment while it is encoded, and compare what a viewer gets with the frames that were encoded.

The encoded packets are decoded in a thread of its own, so no second pass over the file is necessary.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Self, cast

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext

from defacer.engine.models.arrays import Array

CELLS = (160, 90)  # columns and rows of cells; frames are compared by the mean grey level of each cell
ROW_STEP = 4  # of this many rows one is read: that is precise enough, and takes 40 % of the time
MAX_DIFFERENCE = 20.0  # grey levels, of 255, between a cell before and after it was encoded
MIN_RATE = 20  # frames a second: at this rate or more, only frames that others depend on are decoded
MAX_PENDING = 32  # packets that wait for the decoder


class Readback(AbstractContextManager["Readback"]):
    """Compares decoded frames with the frames that were encoded.

    All frames are compared with `every_frame`, else those that other frames depend on. `differing` are the times of
    frames that are not as they were before. `is_readable` is False if the decoder refused a packet.
    """

    def __init__(self, every_frame: bool):
        self.differing: set[int] = set()
        self.is_readable = True
        self._every_frame = every_frame
        self._decoder: VideoCodecContext | None = None
        self._expected: deque[tuple[int, Array]] = deque()
        self._due: set[int] = set()  # times of packets whose frames were not compared yet, and have to be
        self._pending: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, "readback")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def expect(self, frame: av.VideoFrame) -> None:
        """Remember a frame that is about to be encoded. Call in the order of time."""
        self._expected.append((frame.pts or 0, _cells(frame)))

    def take(self, packets: "list[av.Packet[Any]]", encoder: VideoCodecContext) -> None:
        """Decode packets, in encoding order, and compare their frames."""
        for packet in packets:
            copy = av.Packet(bytes(packet))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            decoder = self._decoder_for(encoder)
            if packet.is_keyframe or decoder.skip_frame == "DEFAULT":
                self._due.add(packet.pts or 0)
            self._submit(copy, decoder)

    def finish(self) -> None:
        """Compare the frames that the decoder still holds."""
        if self._decoder is not None:
            self._submit(None, self._decoder)
        while self._pending:
            self._pending.popleft().result()
        self.differing |= self._due  # the decoder dropped these frames

    def _submit(self, packet: "av.Packet[Any] | None", decoder: VideoCodecContext) -> None:
        self._pending.append(self._thread.submit(self._decode, packet, decoder))
        while len(self._pending) > MAX_PENDING:
            self._pending.popleft().result()

    def _decoder_for(self, encoder: VideoCodecContext) -> VideoCodecContext:
        if self._decoder is None:
            name = "hevc" if "265" in encoder.name or "hevc" in encoder.name else "h264"
            decoder = cast(VideoCodecContext, av.CodecContext.create(name, "r"))
            decoder.extradata = encoder.extradata
            decoder.thread_type = "NONE"
            dense = encoder.framerate is not None and encoder.framerate >= MIN_RATE
            decoder.skip_frame = "DEFAULT" if self._every_frame or not dense else "NONREF"
            self._decoder = decoder
        return self._decoder

    def _decode(self, packet: "av.Packet[Any] | None", decoder: VideoCodecContext) -> None:
        try:
            for frame in decoder.decode(packet):
                self._compare(frame)
        except av.error.FFmpegError:
            self.is_readable = False

    def _compare(self, frame: av.VideoFrame) -> None:
        pts = frame.pts or 0
        self._due.discard(pts)
        while self._expected and self._expected[0][0] < pts:
            self._expected.popleft()
        expected = self._expected[0] if self._expected else None
        if expected is None or expected[0] != pts or frame.is_corrupt or _differ(expected[1], _cells(frame)):
            self.differing.add(pts)


def _differ(one: Array, other: Array) -> bool:
    return float(np.abs(one - other).max()) > MAX_DIFFERENCE


def _cells(frame: av.VideoFrame) -> Array:
    """Return the mean grey levels, 0 to 255, of the cells of a planar frame: float32 (90, 160)."""
    plane, bits = frame.planes[0], frame.format.components[0].bits
    samples = np.frombuffer(memoryview(plane), np.uint8 if bits == 8 else "<u2")
    stride = plane.line_size // samples.itemsize
    rows = samples[: plane.height * stride].reshape(plane.height, stride)[::ROW_STEP, : plane.width]
    small = cv2.resize(rows, CELLS, interpolation=cv2.INTER_AREA)
    return (small / np.float32(1 << (bits - 8))).astype(np.float32)
