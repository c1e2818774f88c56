"""Test the clock of converted sound: gaps become silence, overlaps are cut, and rounded times change nothing."""

from collections.abc import Sequence
from fractions import Fraction

import pytest
from av import AudioFrame

from defacer.engine.media.sound.sound_clock import SoundClock

RATE, SIZE = 8000, 160
FRAME_SECONDS = SIZE / RATE


def place(
    times: Sequence[float | None], begin: float | None = None
) -> tuple[SoundClock, list[tuple[int, int]]]:
    """Return the clock, and the silence and the cut of each frame, in samples."""
    clock, placed = SoundClock(), []
    if begin is not None:
        clock.begin(Fraction(str(begin)))
    for seconds in times:
        frame = AudioFrame(format="s16", layout="mono", samples=SIZE)
        frame.sample_rate, frame.time_base = RATE, Fraction(1, 90_000)
        frame.pts = None if seconds is None else round(seconds * 90_000)
        placed += list(clock.add(frame))
    placed += list(clock.flush())
    assert len(placed) == len(times)
    return clock, [(one.silence, one.cut) for one in placed]


def steady(count: int, start: float = 0.0) -> list[float]:
    return [start + number * FRAME_SECONDS for number in range(count)]


def test_times_without_gaps_change_nothing() -> None:
    clock, placed = place(steady(100, 0.5))
    assert clock.start == Fraction(1, 2)
    assert set(placed) == {(0, 0)}


@pytest.mark.parametrize("digits", [3, 2])
def test_rounded_times_change_nothing(digits: int) -> None:
    _, placed = place([round(seconds + 0.004, digits) for seconds in steady(300)])
    assert set(placed) == {(0, 0)}


def test_gap_becomes_silence_at_its_place() -> None:
    _, placed = place([*steady(50), *steady(50, 1.4)])
    assert placed[50] == (round(0.4 * RATE), 0)
    assert set(placed[:50] + placed[51:]) == {(0, 0)}


def test_overlap_is_cut_at_the_start_of_the_later_frames() -> None:
    _, placed = place([*steady(50), *steady(50, 0.97)])
    assert sum(cut for _, cut in placed) == round(0.03 * RATE)
    assert placed[50] == (0, SIZE)


def test_time_before_the_first_frame_is_silent() -> None:
    clock, placed = place(steady(60, 0.086), begin=0)
    assert clock.start == 0
    assert placed[0] == (round(0.086 * RATE), 0)


def test_single_late_frame_changes_nothing() -> None:
    times = steady(100)
    times[40] += 0.03
    assert set(place(times)[1]) == {(0, 0)}


def test_frames_without_times_continue() -> None:
    _, placed = place([*steady(30), *[None] * 30, *steady(30, 60 * FRAME_SECONDS)])
    assert set(placed) == {(0, 0)}
