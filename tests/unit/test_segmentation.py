"""Where a video is cut into segments."""

import itertools
import random
from fractions import Fraction

import pytest

from defacer.pipeline.media_engine import VideoHeader
from defacer.pipeline.segmentation import (
    DECODE_SPEED,
    MAX_SEGMENT_SECONDS,
    choose_segment_seconds,
    measure_decode_cost,
    plan_segments,
)
from defacer.pipeline.settings import settings
from tests.cloud import Environment


def header_of(
    duration_seconds: float | None,
    keyframes: tuple[int, ...] = (),
    time_base: Fraction = Fraction(1, 1000),
    start_pts: int = 0,
    size: tuple[int, int] = (320, 180),
    frame_rate: float | None = 25.0,
) -> VideoHeader:
    return VideoHeader(*size, "h264", time_base, start_pts, duration_seconds, frame_rate, keyframes)


def boundaries(header: VideoHeader, seconds: float = 10) -> list[int | None]:
    segments = plan_segments(header, seconds)
    assert segments[0].start is None
    assert segments[-1].end is None
    assert [left.end for left in segments[:-1]] == [right.start for right in segments[1:]]
    return [segment.end for segment in segments[:-1]]


def test_without_key_frames_the_cuts_are_exact() -> None:
    assert boundaries(header_of(40)) == [10_000, 20_000, 30_000]


def test_cut_snaps_to_nearest_key_frame_within_half_a_segment() -> None:
    assert boundaries(header_of(30, keyframes=(0, 4_000, 8_500, 12_000, 18_700, 25_000))) == [8_500, 18_700]


def test_next_cut_is_measured_from_the_previous_cut() -> None:
    assert boundaries(header_of(45, keyframes=(0, 14_000))) == [14_000, 24_000, 34_000]


def test_key_frame_beyond_half_a_segment_is_ignored() -> None:
    assert boundaries(header_of(20, keyframes=(0, 4_999, 15_001))) == [10_000]
    assert boundaries(header_of(25, keyframes=(0, 15_000))) == [15_000]


@pytest.mark.parametrize(("length", "cuts"), [(9, 0), (14.9, 0), (15, 1), (24.9, 1), (25, 2)])
def test_short_remainder_joins_the_previous_segment(length: float, cuts: int) -> None:
    assert len(boundaries(header_of(length))) == cuts


def test_cut_that_snaps_too_near_the_end_is_omitted() -> None:
    assert boundaries(header_of(17, keyframes=(0, 14_000))) == []


@pytest.mark.parametrize("length", [None, 0.0, 0.01, -3.0])
def test_video_of_unknown_or_zero_length_is_one_segment(length: float | None) -> None:
    assert boundaries(header_of(length)) == []


def test_cuts_are_offset_by_the_first_frame_in_stream_time_base() -> None:
    header = header_of(30, time_base=Fraction(1, 90_000), start_pts=1_000_000)
    assert boundaries(header) == [1_900_000, 2_800_000]


def test_coarse_time_base_rounds_within_one_tick() -> None:
    assert boundaries(header_of(4, time_base=Fraction(1, 3)), seconds=1.5) == [4, 8]


def test_random_key_frames_lead_to_no_tiny_or_long_segment() -> None:
    chance = random.Random(7)
    for _ in range(300):
        length = chance.uniform(1, 200)
        keys = tuple(sorted(chance.sample(range(int(length * 1000)), k=min(20, int(length)))))
        cuts = [cut or 0 for cut in boundaries(header_of(length, keyframes=keys))]
        edges = [0, *cuts, length * 1000]
        pieces = [right - left for left, right in itertools.pairwise(edges)]
        gap = max(right - left for left, right in itertools.pairwise([0, *keys, length * 1000]))
        assert all(piece <= max(20_000, gap * 3 / 4) for piece in pieces), (length, keys, pieces)
        if len(pieces) > 1:
            assert all(piece >= 4_999 for piece in pieces), (length, keys, pieces)


def test_day_of_video_with_only_key_frames_is_planned() -> None:
    keys = tuple(range(0, 86_400_000, 40))
    assert len(boundaries(header_of(86_400, keyframes=keys))) == 8_639


@pytest.mark.parametrize(
    ("width", "height", "rate", "seconds"),
    [
        (1280, 720, 30, 10),
        (3840, 2160, 30, 10),
        (7680, 4320, 30, 3.6),
        (7680, 4320, 120, 1),
        (640, 360, None, 10),
    ],
)
def test_large_frames_get_shorter_segments(
    width: int, height: int, rate: float | None, seconds: float, environment: Environment
) -> None:
    """A worker at 20 megapixels per second finishes a segment in a third of its deadline."""
    environment(worker_megapixels_per_second=20, deadline_seconds=540, segment_seconds=10)
    header = header_of(100.0, size=(width, height), frame_rate=rate)
    assert choose_segment_seconds(header, settings()) == pytest.approx(seconds, rel=0.01)


@pytest.mark.parametrize("minutes", [1, 5, 20])
def test_one_key_frame_costs_at_most_four_times_the_decoding(minutes: int) -> None:
    """With segments of 10 s, 20 minutes would be decoded 60 times: the cost would grow with the square."""
    header = header_of(minutes * 60, keyframes=(0,))
    segments = plan_segments(header, 10)
    assert measure_decode_cost(header, segments).times < 4
    assert max((end.end or 0) - (end.start or 0) for end in segments[:-1]) <= MAX_SEGMENT_SECONDS * 1000


def test_segments_shrink_where_decoding_takes_the_time_of_a_worker() -> None:
    """Decoding and processing each segment takes at most as long as processing 60 s."""
    header = header_of(1000, keyframes=(0,))
    cuts = [0, *(segment.end for segment in plan_segments(header, 10, longest=60) if segment.end)]
    assert max(cuts) > 900_000
    for start, end in itertools.pairwise(cuts):
        assert end - start <= max(10_000, 60_000 - start // DECODE_SPEED)


def test_key_frames_keep_the_usual_length_after_a_long_gap() -> None:
    cuts = boundaries(header_of(140, keyframes=(0, 100_000, 110_000, 120_000, 130_000)))
    assert cuts[-4:] == [100_000, 110_000, 120_000, 130_000]
    assert len(cuts) == 9


def test_unknown_key_frames_cost_one_decoding() -> None:
    header = header_of(40)
    assert measure_decode_cost(header, plan_segments(header, 10)).times == 1
