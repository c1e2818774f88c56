"""How far a job is, and the time that is left: simulated on workers that are quick, slow, shared and late."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.pipeline.lifecycle.progress import ANEW, LONGER, WAITING, Progress, Span
from defacer.plurals import about, percent

T0 = datetime(2026, 11, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Run:
    """When each segment was found and hidden, in seconds after the planning."""

    found: tuple[tuple[float, float], ...]
    hidden: tuple[tuple[float, float], ...]
    is_again: bool = False

    @property
    def end(self) -> float:
        return max(end for _, end in self.hidden)

    def at(self, second: float) -> JobStatus:
        """The job as its objects show it at that second."""
        now = T0 + timedelta(seconds=second)
        found = [span for span in map(_span, self.found) if span.ended <= now]
        linked = len(found) == len(self.found)
        hidden = [span for span in map(_span, self.hidden) if span.ended <= now]
        at_work = any(start <= second < end for start, end in (*self.found, *self.hidden))
        ends = [span.ended for span in (*found, *hidden)]
        manifest = SimpleNamespace(
            segments=range(len(self.hidden)), again=object() if self.is_again else None
        )
        return JobStatus(
            job="0" * 20,
            source="channels/street/videos/walk.mp4",
            manifest=cast(Manifest, manifest),
            found=len(found),
            hidden=len(hidden),
            linked=linked,
            published=None,
            failed=None,
            since=max(ends, default=T0),
            worked_at=now if at_work else None,
            spans=tuple(hidden if linked else found),
        )

    def progress(self) -> list[Progress]:
        """Return the progress in every second."""
        return [
            self.at(second).progress(T0 + timedelta(seconds=second)) for second in range(int(self.end) + 1)
        ]


def _span(times: tuple[float, float]) -> Span:
    began, ended = (T0 + timedelta(seconds=second) for second in times)
    return Span(began, ended)


def run(find: list[float], hide: list[float], workers: int = 1, wait: float = 0) -> Run:
    """What these durations come to when the first worker is free after `wait` seconds."""
    found = _work(find, workers, wait)
    hidden = _work(hide, workers, max(end for _, end in found))
    return Run(found, hidden)


def _work(durations: list[float], workers: int, start: float) -> tuple[tuple[float, float], ...]:
    free = [start] * workers
    spans = []
    for duration in durations:
        begin = min(free)
        free[free.index(begin)] = begin + duration
        spans.append((begin, begin + duration))
    return tuple(spans)


def require_honest(shown: list[Progress]) -> None:
    """The bar never goes back, and the time left never counts up without a note about that."""
    last: Progress | None = None
    noted = False
    for now in shown:
        assert last is None or now.share >= last.share
        noted |= now.note is not None
        if now.seconds_left is not None:
            if last is not None and last.seconds_left is not None and now.seconds_left > last.seconds_left:
                assert noted
            last, noted = now, False
        elif last is not None:
            last = Progress(now.share, last.seconds_left)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seed", range(20))
def test_time_left_never_counts_up_without_a_note(seed: int, workers: int) -> None:
    chance = random.Random(seed)
    find, hide = ([chance.uniform(2, 20) for _ in range(12)] for _ in range(2))
    require_honest(run(find, [chance.choice((0.5, 1, 3)) * second for second in hide], workers).progress())


def test_even_work_is_estimated_right_from_the_first_segment_on() -> None:
    steady = run([5.9] * 10, [4.0] * 10)
    shown = steady.progress()
    for second in range(7, int(steady.end)):
        if shown[second].seconds_left is not None:
            assert shown[second].seconds_left == pytest.approx(steady.end - second, abs=2)
    told = [now.seconds_left for now in shown]
    assert sum(left is not None for left in told) > 0.8 * len(told)


def test_a_wait_for_a_worker_is_noted_and_does_not_change_the_pace() -> None:
    late = run([6] * 10, [4] * 10, wait=600)
    shown = late.progress()
    assert {now.note for now in shown[20:600]} == {WAITING}
    assert shown[607].seconds_left == pytest.approx(late.end - 607, rel=0.1)


def test_a_step_that_takes_longer_than_its_first_segments_says_so() -> None:
    shown = run([2, 2, *[20] * 8], [4] * 10).progress()
    assert shown[3].note is None
    slow = [now for now in shown if now.share < 0.5]
    assert LONGER in {now.note for now in slow}
    require_honest(shown)


def test_the_second_step_announces_its_own_estimate() -> None:
    shown = run([2] * 4, [30] * 4).progress()
    assert shown[10].note == ANEW
    assert shown[39].seconds_left == pytest.approx(90, abs=4)
    require_honest(shown)


def test_a_video_that_is_rendered_again_fills_the_bar_with_one_step() -> None:
    again = Run((), _work([5.0] * 4, 1, 0), is_again=True)
    shares = [now.share for now in again.progress()[::5]]
    assert shares == pytest.approx([0, 0.244, 0.488, 0.731, 0.975], abs=0.001)
    assert again.progress()[6].note is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "about 5 seconds"), (52, "about 50 seconds"), (150, "about 2 minutes"), (7200, "about 2 hours")],
)
def test_a_time_left_is_rounded_as_people_say_it(seconds: float, words: str) -> None:
    assert about(seconds) == words


def test_only_all_of_the_work_is_a_hundred_percent() -> None:
    assert [percent(share) for share in (0, 0.999, 1)] == ["0 %", "99 %", "100 %"]
