"""One stream: frames come in, are looked at, and go out with faces hidden, some tenths of a second later.

It fails closed. A frame is shown when it was looked at, and what follows it for as long as a face is covered before
it is first seen. Until then the last frame that was shown stays; where that takes too long, the picture is black.
What a thread raises ends the stream with a black picture. When looking falls behind, fewer frames are taken.
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
from defacer.engine.media.damage import black
from defacer.engine.media.orientation import Orientation
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.rendering.redaction import Style, redact
from defacer.engine.streaming import LiveSnapshot
from defacer.pipeline import log
from defacer.web.live.jpeg import Encoder, fitted

TIME_BASE = Fraction(1, 1000)
HOLD_SECONDS = 1.0  # so much later than it was due a frame may still be shown; then it is black
BEHIND_SECONDS = 0.2  # a frame that has waited so long to be looked at gives way to the next one
MAX_WAITING = 64
STATISTICS_SECONDS = 2.0
WAIT_SECONDS = 0.25  # for nothing longer, without a look at the clock
FAILED = "Looking for faces failed, so nothing is shown any more. Start again."


class FullError(Exception):
    """As many watch a stream as may."""


@dataclass(frozen=True)
class Plan:
    """How a stream is done. `delay_seconds`: how long after it came a frame is shown, at least."""

    gallery: Gallery | None
    options: Options
    style: Style
    delay_seconds: float
    most_frames_per_second: float


@dataclass(frozen=True)
class Shown:
    """A frame that may be seen: a JPEG. `mark` came with its source, `delay_seconds` is how old that is."""

    number: int
    jpeg: bytes
    mark: float
    delay_seconds: float


@dataclass(frozen=True)
class Status:
    """What the page tells of a stream."""

    frames_per_second: float
    delay_seconds: float
    kept: int
    hidden: int
    black: bool


@dataclass(eq=False)
class _Held:
    frame: av.VideoFrame
    came: float
    mark: float


class Stream:
    """Its threads run from `start` until `end`. `take` may be called by any thread. `clock` gives seconds."""

    def __init__(self, engine: Engine, plan: Plan, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._engine = engine
        self._plan = plan
        self._changed = threading.Condition()
        self._waiting: deque[_Held] = deque()
        self._to_look: deque[_Held] = deque()
        self._known: LiveSnapshot | None = None
        self._watchers: list[Callable[[Shown], None]] = []
        self._begun = clock()
        self._last: tuple[float, int] | None = None  # when the last frame came that was taken, and its pts
        self._size: tuple[int, int] | None = None
        self._numbers = 0
        self._times: deque[tuple[float, float]] = deque()  # when a frame was shown, and how old it was
        self._status = Status(0.0, 0.0, 0, 0, black=False)
        self._threads = [
            threading.Thread(target=self._safely, args=(work,), name=name, daemon=True)
            for name, work in (("live-look", self._look), ("live-show", self._show))
        ]
        self.ended: str | None = None
        self.last_came = self._begun

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self, why: str) -> None:
        """Stop; the first reason stays. Does not wait for the threads: they end with what they are at."""
        with self._changed:
            if self.ended is None:
                self.ended = why
                self._to_look.clear()
                self._waiting.clear()
            self._changed.notify_all()

    def join(self, seconds: float) -> bool:
        """Wait for the threads, so long at most. Whether all have ended."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def watch(self, watcher: Callable[[Shown], None], most: int) -> Callable[[], None]:
        """Call `watcher` with each frame from now on, from another thread. Gives what ends that.

        Raises FullError if `most` watch already.
        """
        with self._changed:
            if len(self._watchers) >= most:
                raise FullError
            self._watchers.append(watcher)

        def leave() -> None:
            with self._changed:
                if watcher in self._watchers:
                    self._watchers.remove(watcher)

        return leave

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    @property
    def has_taken(self) -> bool:
        """Whether a frame has come."""
        return self._last is not None

    @property
    def status(self) -> Status:
        with self._changed:
            return self._status

    def take(self, frame: av.VideoFrame, mark: float = 0.0) -> bool:
        """Take a frame, if it is time for one; whether it did. Raises VideoError.

        The frame is the stream's from now on.
        """
        now = self._clock()
        with self._changed:
            self.last_came = now
            if self.ended is not None or self._is_too_soon(now):
                return False
        frame = fitted(frame)
        with self._changed:
            if self._size not in (None, (frame.width, frame.height)):
                raise VideoError("its picture changed its size. Start again.")
            self._size = frame.width, frame.height
            pts = round((now - self._begun) / TIME_BASE)
            if self._last is not None:
                pts = max(pts, self._last[1] + 1)
            self._last = now, pts
            frame.pts, frame.time_base = pts, TIME_BASE
            held = _Held(frame, now, mark)
            self._waiting.append(held)
            self._to_look.append(held)
            self._changed.notify_all()
        return True

    def _is_too_soon(self, now: float) -> bool:
        if self._last is not None and now - self._last[0] < 0.9 / self._plan.most_frames_per_second:
            return True
        return len(self._waiting) >= MAX_WAITING

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - nothing may be shown after any
            log.error("a stream's thread failed: its picture is black", error)
            self.end(FAILED)
        finally:
            self.end("")

    def _look(self) -> None:
        for known in self._engine.follow(self._come(), TIME_BASE, self._plan.gallery, self._plan.options):
            with self._changed:
                self._known = known
                self._changed.notify_all()
                if self.ended is not None:
                    return

    def _come(self) -> Iterator[av.VideoFrame]:
        while True:
            with self._changed:
                while not self._to_look and self.ended is None:
                    self._changed.wait(WAIT_SECONDS)
                if self.ended is not None:
                    return
                held = self._to_look.popleft()
                while self._to_look and self._clock() - held.came > BEHIND_SECONDS:
                    if held in self._waiting:
                        self._waiting.remove(held)  # neither looked at nor shown
                    held = self._to_look.popleft()
            yield held.frame

    def _show(self) -> None:
        encoder: Encoder | None = None
        held: _Held | None = None
        try:
            while (found := self._next()) is not None:
                held, known = found
                frame = held.frame
                if encoder is None:
                    encoder = Encoder(frame.width, frame.height)
                if known is None:
                    frame = black(frame, frame.pts or 0)
                else:
                    pts, cover = frame.pts or 0, known.cover
                    redact(frame, cover.boxes(pts), self._plan.style, Orientation(), cover.openings(pts))
                self._publish(held, encoder.encode(frame), known)
        finally:  # whatever it ends by
            if held is not None and encoder is not None:
                frame = black(held.frame, (held.frame.pts or 0) + 1)
                self._publish(_Held(frame, self._clock(), 0.0), encoder.encode(frame), None)

    def _next(self) -> tuple[_Held, LiveSnapshot | None] | None:
        """The next frame that is due, and what is known of it; nothing: it has to be black. None at the end."""
        with self._changed:
            while self.ended is None:
                left = WAIT_SECONDS
                if self._waiting:
                    first, known = self._waiting[0], self._known
                    late = self._clock() - first.came - self._plan.delay_seconds
                    if late >= 0 and known is not None and known.decides(first.frame.pts or 0):
                        return self._waiting.popleft(), known
                    if late > HOLD_SECONDS:
                        return self._waiting.popleft(), None
                    left = min(WAIT_SECONDS, -late if late < 0 else HOLD_SECONDS - late + 0.001)
                self._changed.wait(left)
            return None

    def _publish(self, held: _Held, jpeg: bytes, known: LiveSnapshot | None) -> None:
        now = self._clock()
        with self._changed:
            watchers = list(self._watchers)
            self._numbers += 1
            shown = Shown(self._numbers, jpeg, held.mark, now - held.came)
            self._times.append((now, shown.delay_seconds))
            while now - self._times[0][0] > STATISTICS_SECONDS:
                self._times.popleft()
            since = max(now - self._times[0][0], 1e-3)
            kept, hidden = known.counts(held.frame.pts or 0) if known else (0, 0)
            self._status = Status(
                frames_per_second=(len(self._times) - 1) / since if len(self._times) > 1 else 0.0,
                delay_seconds=sum(delay for _, delay in self._times) / len(self._times),
                kept=kept,
                hidden=hidden,
                black=known is None,
            )
        for watcher in watchers:
            watcher(shown)
