"""One live stream: frames arrive, are sampled, and leave redacted some tenths of a second later.

It fails closed. A frame is shown only after detection has covered it and the lead time of a mask after it.
Until then the last frame stays visible; if that takes too long, the picture turns black. An exception in a thread ends
the stream with a black picture. If detection falls behind, fewer frames are accepted.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av

from defacer.engine.engine import Engine
from defacer.engine.errors import VideoError
from defacer.engine.media.damage import black_frame
from defacer.engine.media.orientation import Orientation
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.rendering.redaction import Style, redact_boxes
from defacer.engine.streaming import LiveSnapshot
from defacer.web.live.jpeg import Encoder, fit_frame

TIME_BASE = Fraction(1, 1000)
MAX_OVERDUE_SECONDS = 1.0  # a frame that is later than this is shown black
MAX_DETECTION_LAG_SECONDS = 0.2  # a frame that has waited longer for detection is skipped
MAX_PENDING = 64
STATISTICS_SECONDS = 2.0
POLL_SECONDS = 0.25  # longest wait without checking the clock
FAILED = "Detecting faces failed, so the stream ended with a black picture. Start again."


class TooManyViewersError(Exception):
    """The stream has the largest number of viewers."""


@dataclass(frozen=True)
class StreamPlan:
    """How a stream is redacted. A frame is shown at least `delay_seconds` after it arrived."""

    gallery: Gallery | None
    options: Options
    style: Style
    delay_seconds: float
    max_frames_per_second: float


@dataclass(frozen=True)
class RenderedFrame:
    """A redacted frame as JPEG. `mark` arrived with its source, and `delay_seconds` is the time since then."""

    number: int
    jpeg: bytes
    mark: float
    delay_seconds: float


@dataclass(frozen=True)
class StreamStatus:
    """The figures that a page shows about a stream."""

    frames_per_second: float
    delay_seconds: float
    kept: int
    hidden: int
    black: bool


@dataclass(eq=False)
class _PendingFrame:
    frame: av.VideoFrame
    arrived: float
    mark: float


class Stream:
    """A stream whose threads run from `start` until `end`. Any thread can call `add_frame`. `clock` returns seconds."""

    def __init__(self, engine: Engine, plan: StreamPlan, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._engine = engine
        self._plan = plan
        self._changed = threading.Condition()
        self._to_show: deque[_PendingFrame] = deque()
        self._to_sample: deque[_PendingFrame] = deque()
        self._snapshot: LiveSnapshot | None = None
        self._viewers: list[Callable[[RenderedFrame], None]] = []
        self._started = clock()
        self._last_added: tuple[float, int] | None = None  # arrival and pts of the newest accepted frame
        self._size: tuple[int, int] | None = None
        self._frame_count = 0
        self._shown: deque[tuple[float, float]] = deque()  # when each recent frame was shown, and its delay
        self._status = StreamStatus(0.0, 0.0, 0, 0, black=False)
        self._threads = [
            threading.Thread(target=self._run_and_end, args=(work,), name=name, daemon=True)
            for name, work in (("live-detect", self._detect_faces), ("live-show", self._show_frames))
        ]
        self.ended: str | None = None
        self.failure: BaseException | None = None
        self.last_received = self._started

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def end(self, reason: str, failure: BaseException | None = None) -> None:
        """Stop the stream; the first reason stays, with its failure. The threads end after their current frame."""
        with self._changed:
            if self.ended is None:
                self.ended, self.failure = reason, failure
                self._to_sample.clear()
                self._to_show.clear()
            self._changed.notify_all()

    def join(self, seconds: float) -> bool:
        """Wait for the threads, at most this long. Return whether all have ended."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def add_viewer(self, viewer: Callable[[RenderedFrame], None], max_viewers: int) -> Callable[[], None]:
        """Call `viewer` with each frame from now on, from another thread. Return a function that removes it.

        Raise TooManyViewersError if the stream has `max_viewers` viewers.
        """
        with self._changed:
            if len(self._viewers) >= max_viewers:
                raise TooManyViewersError
            self._viewers.append(viewer)

        def remove() -> None:
            with self._changed:
                if viewer in self._viewers:
                    self._viewers.remove(viewer)

        return remove

    @property
    def viewer_count(self) -> int:
        """The number of viewers."""
        return len(self._viewers)

    @property
    def has_frames(self) -> bool:
        """Whether a frame has arrived."""
        return self._last_added is not None

    @property
    def status(self) -> StreamStatus:
        """The figures of the last seconds."""
        with self._changed:
            return self._status

    def add_frame(self, frame: av.VideoFrame, mark: float = 0.0) -> bool:
        """Accept a frame unless it is too early for the next one. Return whether it was accepted.

        The stream owns the frame from now on. Raise VideoError if the frame is too small or if its size changed.
        """
        now = self._clock()
        with self._changed:
            self.last_received = now
            if self.ended is not None or self._is_too_early(now):
                return False
        frame = fit_frame(frame)
        with self._changed:
            if self._size not in (None, (frame.width, frame.height)):
                raise VideoError("The size of the picture changed during the stream. Start again.")
            self._size = frame.width, frame.height
            pts = round((now - self._started) / TIME_BASE)
            if self._last_added is not None:
                pts = max(pts, self._last_added[1] + 1)
            self._last_added = now, pts
            frame.pts, frame.time_base = pts, TIME_BASE
            pending = _PendingFrame(frame, now, mark)
            self._to_show.append(pending)
            self._to_sample.append(pending)
            self._changed.notify_all()
        return True

    def _is_too_early(self, now: float) -> bool:
        interval = 0.9 / self._plan.max_frames_per_second
        if self._last_added is not None and now - self._last_added[0] < interval:
            return True
        return len(self._to_show) >= MAX_PENDING

    def _run_and_end(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - no frame is allowed to be shown after any exception
            self.end(FAILED, error)
        finally:
            self.end("")

    def _detect_faces(self) -> None:
        frames = self._frames_to_sample()
        for snapshot in self._engine.follow(frames, TIME_BASE, self._plan.gallery, self._plan.options):
            with self._changed:
                self._snapshot = snapshot
                self._changed.notify_all()
                if self.ended is not None:
                    return

    def _frames_to_sample(self) -> Iterator[av.VideoFrame]:
        while True:
            with self._changed:
                while not self._to_sample and self.ended is None:
                    self._changed.wait(POLL_SECONDS)
                if self.ended is not None:
                    return
                pending = self._to_sample.popleft()
                while self._to_sample and self._clock() - pending.arrived > MAX_DETECTION_LAG_SECONDS:
                    if pending in self._to_show:
                        self._to_show.remove(pending)  # a frame that is not sampled is not shown
                    pending = self._to_sample.popleft()
            yield pending.frame

    def _show_frames(self) -> None:
        encoder: Encoder | None = None
        pending: _PendingFrame | None = None
        try:
            while (due := self._wait_for_due_frame()) is not None:
                pending, snapshot = due
                frame = pending.frame
                if encoder is None:
                    encoder = Encoder(frame.width, frame.height)
                if snapshot is None:
                    frame = black_frame(frame, frame.pts or 0)
                else:
                    pts, masks = frame.pts or 0, snapshot.mask_schedule
                    redact_boxes(
                        frame, masks.boxes(pts), self._plan.style, Orientation(), masks.openings(pts)
                    )
                self._send_to_viewers(pending, encoder.encode(frame), snapshot)
        finally:  # the last picture is black, also after an exception
            if pending is not None and encoder is not None:
                frame = black_frame(pending.frame, (pending.frame.pts or 0) + 1)
                last = _PendingFrame(frame, self._clock(), 0.0)
                self._send_to_viewers(last, encoder.encode(frame), None)

    def _wait_for_due_frame(self) -> tuple[_PendingFrame, LiveSnapshot | None] | None:
        """Return the next due frame with its snapshot, or None when the stream has ended.

        A frame without a snapshot is overdue: it has to be shown black.
        """
        with self._changed:
            while self.ended is None:
                wait = POLL_SECONDS
                if self._to_show:
                    first, snapshot = self._to_show[0], self._snapshot
                    overdue = self._clock() - first.arrived - self._plan.delay_seconds
                    if overdue >= 0 and snapshot is not None and snapshot.covers(first.frame.pts or 0):
                        return self._to_show.popleft(), snapshot
                    if overdue > MAX_OVERDUE_SECONDS:
                        return self._to_show.popleft(), None
                    wait = min(
                        POLL_SECONDS, -overdue if overdue < 0 else MAX_OVERDUE_SECONDS - overdue + 0.001
                    )
                self._changed.wait(wait)
            return None

    def _send_to_viewers(self, pending: _PendingFrame, jpeg: bytes, snapshot: LiveSnapshot | None) -> None:
        now = self._clock()
        with self._changed:
            viewers = list(self._viewers)
            self._frame_count += 1
            rendered = RenderedFrame(self._frame_count, jpeg, pending.mark, now - pending.arrived)
            self._shown.append((now, rendered.delay_seconds))
            while now - self._shown[0][0] > STATISTICS_SECONDS:
                self._shown.popleft()
            elapsed = max(now - self._shown[0][0], 1e-3)
            kept, hidden = snapshot.counts(pending.frame.pts or 0) if snapshot else (0, 0)
            self._status = StreamStatus(
                frames_per_second=(len(self._shown) - 1) / elapsed if len(self._shown) > 1 else 0.0,
                delay_seconds=sum(delay for _, delay in self._shown) / len(self._shown),
                kept=kept,
                hidden=hidden,
                black=snapshot is None,
            )
        for viewer in viewers:
            viewer(rendered)
