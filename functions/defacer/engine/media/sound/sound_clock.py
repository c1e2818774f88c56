"""Keep decoded sound at its time: fill gaps with silence, and cut overlaps.

An encoder numbers its samples without gaps, so a sample that is lost in the source would move all later sound. The
times of a container are rounded, and some decoders return a frame at the time of an earlier one. So a single time
proves nothing. A correction needs half a second of frames that all deviate in the same direction.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from av import AudioFrame

WINDOW_SECONDS = Fraction(1, 2)
TOLERANCE_SECONDS = Fraction(3, 1000)  # the times of many containers are milliseconds


@dataclass(frozen=True)
class PlacedFrame:
    """A decoded frame. `silence` are the samples to insert before it, and `cut` the samples to remove at its start."""

    frame: AudioFrame
    silence: int = 0
    cut: int = 0


class SoundClock:
    """The times of one sound track. `start` is the time of its first sample in seconds."""

    def __init__(self) -> None:
        self.start: Fraction | None = None
        self._waiting: deque[AudioFrame] = deque()
        self._waiting_seconds = Fraction(0)
        self._seconds = Fraction(0)  # of all frames
        self._smallest, self._largest = (
            _WindowMinimum(),
            _WindowMinimum(),
        )  # deviations; of the second, negated
        self._moved = Fraction(0)  # the sum of all corrections
        self._to_cut = Fraction(0)

    def begin(self, time: Fraction) -> None:
        """Start with the first packet. The first frame can be later, and the time before it is silent."""
        if self.start is None:
            self.start = time

    def add(self, frame: AudioFrame) -> Iterator[PlacedFrame]:
        """Add the next decoded frame, and yield the frames whose place is known."""
        time = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
        if time is not None and not self._seconds:
            self.start = time if self.start is None else min(time, self.start)
        self.start = self.start or Fraction(0)
        deviation = self._moved if time is None else time - self.start - self._seconds
        self._smallest.append(deviation)
        self._largest.append(-deviation)
        self._waiting.append(frame)
        self._seconds += _seconds_of(frame)
        self._waiting_seconds += _seconds_of(frame)
        while self._waiting_seconds > WINDOW_SECONDS and len(self._waiting) > 1:
            yield self._place_first()

    def flush(self) -> Iterator[PlacedFrame]:
        """Yield the remaining frames."""
        while self._waiting:
            yield self._place_first()

    def _place_first(self) -> PlacedFrame:
        frame, silence = self._waiting.popleft(), 0
        self._waiting_seconds -= _seconds_of(frame)
        smallest = self._smallest.pop_first() - self._moved
        largest = -self._largest.pop_first() - self._moved
        if smallest > TOLERANCE_SECONDS:
            silence = round(smallest * frame.sample_rate)
            self._moved += Fraction(silence, frame.sample_rate)
        elif largest < -TOLERANCE_SECONDS:
            self._moved += largest
            self._to_cut -= largest
        cut = min(frame.samples, round(self._to_cut * frame.sample_rate))
        self._to_cut -= Fraction(cut, frame.sample_rate)
        return PlacedFrame(frame, silence, cut)


class _WindowMinimum:
    """The smallest number of a queue, in constant time: a frame of TrueHD has 40 samples, so a window has 600."""

    def __init__(self) -> None:
        self._candidates: deque[tuple[int, Fraction]] = deque()  # with their places, in rising order
        self._first = self._next = 0

    def append(self, number: Fraction) -> None:
        while self._candidates and self._candidates[-1][1] >= number:
            self._candidates.pop()
        self._candidates.append((self._next, number))
        self._next += 1

    def pop_first(self) -> Fraction:
        """Return the smallest number, and remove the first number of the queue."""
        place, smallest = self._candidates[0]
        if place == self._first:
            self._candidates.popleft()
        self._first += 1
        return smallest


def _seconds_of(frame: AudioFrame) -> Fraction:
    return Fraction(frame.samples, frame.sample_rate)
