"""A job's progress and remaining time, simulated with fast, slow, shared and delayed workers."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.lifecycle.job_state import JobState
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.pipeline.lifecycle.progress import LONGER, NEW_ESTIMATE, WAITING, JobProgress, Span
from defacer.plurals import about, percent

T0 = datetime(2026, 11, 30, tzinfo=UTC)


@dataclass(frozen=True)
class SimulatedJob:
    """When each segment was detected and redacted, in seconds after planning."""

    detected: tuple[tuple[float, float], ...]
    redacted: tuple[tuple[float, float], ...]
    is_rerender: bool = False

    @property
    def end(self) -> float:
        return max(end for _, end in self.redacted)

    def at(self, second: float) -> JobStatus:
        """Return the job's status as its objects show it at that second."""
        now = T0 + timedelta(seconds=second)
        detected = [span for span in map(_span, self.detected) if span.ended <= now]
        linked = len(detected) == len(self.detected)
        redacted = [span for span in map(_span, self.redacted) if span.ended <= now]
        is_running = any(start <= second < end for start, end in (*self.detected, *self.redacted))
        ends = [span.ended for span in (*detected, *redacted)]
        manifest = SimpleNamespace(
            segments=range(len(self.redacted)), rerender=object() if self.is_rerender else None
        )
        return JobStatus(
            job="0" * 20,
            source="channels/street/videos/walk.mp4",
            manifest=cast(Manifest, manifest),
            state=JobState.REDACTING if linked else JobState.PLANNED,
            detected=len(detected),
            redacted=len(redacted),
            published=None,
            failed=None,
            since=max(ends, default=T0),
            worked_at=now if is_running else None,
            spans=tuple(redacted if linked else detected),
        )

    def progress(self) -> list[JobProgress]:
        """Return the progress at every second."""
        return [
            self.at(second).progress(T0 + timedelta(seconds=second)) for second in range(int(self.end) + 1)
        ]


def _span(times: tuple[float, float]) -> Span:
    began, ended = (T0 + timedelta(seconds=second) for second in times)
    return Span(began, ended)


def simulate(detect: list[float], redact: list[float], workers: int = 1, wait: float = 0) -> SimulatedJob:
    """Simulate segments of these durations on workers that start after `wait` seconds."""
    detected = _schedule(detect, workers, wait)
    redacted = _schedule(redact, workers, max(end for _, end in detected))
    return SimulatedJob(detected, redacted)


def _schedule(durations: list[float], workers: int, start: float) -> tuple[tuple[float, float], ...]:
    free = [start] * workers
    spans = []
    for duration in durations:
        begin = min(free)
        free[free.index(begin)] = begin + duration
        spans.append((begin, begin + duration))
    return tuple(spans)


def require_honest(shown: list[JobProgress]) -> None:
    """Assert that the bar never moves back, and that the remaining time increases only with a note."""
    last: JobProgress | None = None
    noted = False
    for now in shown:
        assert last is None or now.share >= last.share
        noted |= now.note is not None
        if now.seconds_left is not None:
            if last is not None and last.seconds_left is not None and now.seconds_left > last.seconds_left:
                assert noted
            last, noted = now, False
        elif last is not None:
            last = JobProgress(now.share, last.seconds_left)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seed", range(20))
def test_remaining_time_increases_only_with_a_note(seed: int, workers: int) -> None:
    chance = random.Random(seed)
    detect, redact = ([chance.uniform(2, 20) for _ in range(12)] for _ in range(2))
    durations = [chance.choice((0.5, 1, 3)) * second for second in redact]
    require_honest(simulate(detect, durations, workers).progress())


def test_even_work_is_estimated_from_the_first_segment_on() -> None:
    steady = simulate([5.9] * 10, [4.0] * 10)
    shown = steady.progress()
    for second in range(7, int(steady.end)):
        if shown[second].seconds_left is not None:
            assert shown[second].seconds_left == pytest.approx(steady.end - second, abs=2)
    estimates = [now.seconds_left for now in shown]
    assert sum(left is not None for left in estimates) > 0.8 * len(estimates)


def test_waiting_for_a_worker_is_noted_and_keeps_the_pace() -> None:
    delayed = simulate([6] * 10, [4] * 10, wait=600)
    shown = delayed.progress()
    assert {now.note for now in shown[20:600]} == {WAITING}
    assert shown[607].seconds_left == pytest.approx(delayed.end - 607, rel=0.1)


def test_step_slower_than_its_first_segments_is_noted() -> None:
    shown = simulate([2, 2, *[20] * 8], [4] * 10).progress()
    assert shown[3].note is None
    slow = [now for now in shown if now.share < 0.5]
    assert LONGER in {now.note for now in slow}
    require_honest(shown)


def test_second_step_announces_its_own_estimate() -> None:
    shown = simulate([2] * 4, [30] * 4).progress()
    assert shown[10].note == NEW_ESTIMATE
    assert shown[39].seconds_left == pytest.approx(90, abs=4)
    require_honest(shown)


def test_rerender_fills_the_bar_with_one_step() -> None:
    rerender = SimulatedJob((), _schedule([5.0] * 4, 1, 0), is_rerender=True)
    shares = [now.share for now in rerender.progress()[::5]]
    assert shares == pytest.approx([0, 0.244, 0.488, 0.731, 0.975], abs=0.001)
    assert rerender.progress()[6].note is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "about 5 seconds"), (52, "about 50 seconds"), (150, "about 2 minutes"), (7200, "about 2 hours")],
)
def test_remaining_time_is_rounded(seconds: float, words: str) -> None:
    assert about(seconds) == words


def test_only_complete_work_is_a_hundred_percent() -> None:
    assert [percent(share) for share in (0, 0.999, 1)] == ["0 %", "99 %", "100 %"]
