"""Decode pictures in processes that the system ends when a picture takes too long.

A decoder runs native code, which no thread can stop. Here it runs in a process of its own, `python -P -m
defacer.engine.media.pictures.image_decoder`. The process starts with the first picture, serves one picture after the
other, and ends with its parent. It is started, not forked: a fork of a process with threads can lock up.
"""

import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from threading import BoundedSemaphore, Event, Timer
from typing import TYPE_CHECKING, BinaryIO

import cv2
import numpy as np

from defacer.engine.media.pictures.heif import HEIF_TYPES
from defacer.picture_formats import content_type_of

if TYPE_CHECKING:
    from defacer.engine.models.arrays import Image

# A slow picture does not delay the next one; each process needs up to 0.9 GB for 50 megapixels.
MAX_PROCESSES = 2
# Windows has no timer of CPU time. There the parent kills the process when this multiple of the time has passed.
HAS_CPU_TIMER = hasattr(signal, "setitimer")
WALL_SECONDS_PER_CPU_SECOND = 3
READY = b"R"
REQUEST = struct.Struct(">Q?d")  # bytes, alpha, seconds or 0 for no timer; then the picture
ANSWER = struct.Struct(">III")  # height, width and channels, or zeros; then the pixels


class DecoderStoppedError(Exception):
    """The process ended before it answered."""

    def __init__(self, status: int, is_timeout: bool):
        super().__init__(f"the picture decoder ended with status {status}")
        self.is_timeout = is_timeout


def decode(data: bytes, alpha: bool, seconds: float) -> "Image | None":
    """Return the picture as `decode_here` does, or raise DecoderStoppedError after `seconds` of CPU time."""
    with _pool().borrow() as process:
        return process.decode(data, alpha, seconds)


def decode_here(data: bytes, alpha: bool) -> "Image | None":
    """Return a picture as RGB uint8 (H, W, 3), or RGBA (H, W, 4); None for a picture that can't be read."""
    is_heif = content_type_of(data) in HEIF_TYPES
    return _decode_heif(data, alpha) if is_heif else _decode_with_opencv(data, alpha)


def _decode_heif(data: bytes, alpha: bool) -> "Image | None":
    # Imported here, because most pictures are JPEGs, which need no FFmpeg.
    import av

    from defacer.engine.media.pictures.heif_decoder import decode_heif
    from defacer.engine.media.pictures.heif_tables import HeifError

    try:
        return decode_heif(data, alpha)
    except (HeifError, av.FFmpegError):
        return None


def _decode_with_opencv(data: bytes, alpha: bool) -> "Image | None":
    flags = cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # OpenCV raises for some kinds of damage
        return None
    if image is None:
        return None
    if not alpha:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    if image.dtype != np.uint8:
        image = (image // 257).astype(np.uint8)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    conversion = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGBA
    return cv2.cvtColor(image, conversion).astype(np.uint8, copy=False)


class _DecoderProcess:
    """One decoder process, ready for a picture. Only one thread at a time can use it."""

    def __init__(self) -> None:
        # -P: Python must not import a file of the current folder, which can be a folder of downloads.
        command = [sys.executable, "-P", "-m", "defacer.engine.media.pictures.image_decoder"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True
        )
        assert self._process.stdin is not None  # noqa: S101 - for mypy
        assert self._process.stdout is not None  # noqa: S101 - for mypy
        self._input: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._output: BinaryIO = self._process.stdout  # type: ignore[assignment]
        if self._output.read(len(READY)) != READY:
            raise OSError(f"the picture decoder did not start: exit status {self._process.wait()}")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, data: bytes, alpha: bool, seconds: float) -> "Image | None":
        """Decode a picture as the function `decode` does."""
        # Timer sets its own flag after the kill, when this thread can have read it already.
        timed_out = Event()

        def kill() -> None:
            timed_out.set()
            self._process.kill()

        timer = None if HAS_CPU_TIMER else Timer(seconds * WALL_SECONDS_PER_CPU_SECOND, kill)
        if timer:
            timer.start()
        try:
            self._input.write(REQUEST.pack(len(data), alpha, seconds if HAS_CPU_TIMER else 0))
            self._input.write(data)
            self._input.flush()
            shape = ANSWER.unpack(self._read(ANSWER.size))
            pixels = self._read(shape[0] * shape[1] * shape[2])
        except (OSError, EOFError):  # Windows reports a broken pipe as another OSError
            status = self._process.wait()
            is_timeout = timed_out.is_set() if timer else -status == signal.SIGPROF
            raise DecoderStoppedError(status, is_timeout) from None
        finally:
            if timer:
                timer.cancel()
        return np.frombuffer(pixels, np.uint8).reshape(shape) if pixels else None

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._output.close()
        with suppress(OSError):  # a part of a request was not sent
            self._input.close()

    def _read(self, size: int) -> bytearray:
        buffer = bytearray(size)
        rest = memoryview(buffer)
        while rest:
            count = self._output.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                raise EOFError
            rest = rest[count:]
        return buffer


class _DecoderPool:
    """The decoder processes of this process, at most MAX_PROCESSES. Any number of threads can use it."""

    def __init__(self) -> None:
        self._free = BoundedSemaphore(MAX_PROCESSES)
        self._idle: list[_DecoderProcess] = []

    @contextmanager
    def borrow(self) -> Iterator[_DecoderProcess]:
        """Yield a process for one picture. The pool keeps it unless the block raises an error."""
        with self._free:
            process = self._take_idle() or _DecoderProcess()
            try:
                yield process
            except BaseException:
                process.close()
                raise
            self._idle.append(process)

    def close_idle(self) -> None:
        while process := self._take_idle():
            process.close()

    def _take_idle(self) -> _DecoderProcess | None:
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                return process
            process.close()
        return None


@cache
def _pool() -> _DecoderPool:
    return _DecoderPool()


def close_idle_decoders() -> None:
    """Kill the processes that decode no picture now, 40 MB each. The next picture starts a process again."""
    _pool().close_idle()


def main() -> None:
    """Answer requests until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if HAS_CPU_TIMER:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends this process at once, in native code too
    cv2.setNumThreads(1)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(READY)
    answers.flush()
    while head := requests.read(REQUEST.size):
        size, alpha, seconds = REQUEST.unpack(head)
        data = requests.read(size)
        if seconds:
            signal.setitimer(signal.ITIMER_PROF, seconds)
        image = decode_here(data, alpha)
        if seconds:
            signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(ANSWER.pack(*(image.shape if image is not None else (0, 0, 0))))
        if image is not None:
            answers.write(image.data)
        answers.flush()


if __name__ == "__main__":
    main()
