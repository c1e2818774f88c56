"""A stream with the real models never shows a hidden face, however slow detection is and whatever fails."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from queue import Empty, Queue

import av
import pytest

from defacer.engine.engine import Engine
from defacer.engine.errors import VideoError
from defacer.engine.models.arrays import Detection, Detector, Image
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.rendering.masks import LEAD_SECONDS
from defacer.engine.rendering.redaction import Style, redact_boxes
from defacer.engine.streaming import LiveSnapshot, follow
from defacer.engine.tracking.detection_pass import Targets
from defacer.engine.tracking.identity import limits_of
from defacer.report.faces import Faces
from defacer.web.live.jpeg import Decoder
from defacer.web.live.sessions import SessionRegistry
from defacer.web.live.stream import (
    FAILED,
    MAX_OVERDUE_SECONDS,
    RenderedFrame,
    Stream,
    StreamPlan,
    TooManyViewersError,
)
from tests.cloud import Environment
from tests.live.pictures import FRAMES_PER_SECOND, Clip, VisibilityCount, repeat_frames
from tests.servers import wait_until

TIMEOUT_SECONDS = 300.0  # until a busy machine has shown enough frames
SLOWDOWN = 6  # of the clock, so that a busy machine keeps up


def clock() -> float:
    return time.monotonic() / SLOWDOWN


class InstrumentedEngine:
    """An engine whose detector calls `before` before each detection."""

    def __init__(self, engine: Engine, before: Callable[[], None]):
        self._engine = engine
        self._before = before

    def follow(
        self, frames: Iterable[av.VideoFrame], time_base: Fraction, gallery: Gallery | None, options: Options
    ) -> Iterator[LiveSnapshot]:
        inner, before = self._engine.detector("centerface"), self._before

        class InstrumentedDetector:
            name, confident_score = inner.name, inner.confident_score

            def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
                for _ in images:
                    before()
                return inner.detect(images)

        detector: Detector = InstrumentedDetector()
        assert gallery is not None
        targets = Targets(gallery, self._engine.recognizer(options.recognizer), limits_of(options))
        return follow(frames, time_base, detector, targets, self._engine.checker)


def make_plan(gallery: Gallery | None) -> StreamPlan:
    return StreamPlan(gallery, Options(), Style(), delay_seconds=0.5, max_frames_per_second=20)


def play_clip(stream: Stream, clip: Clip, is_enough: Callable[[VisibilityCount], bool]) -> VisibilityCount:
    """Send the clip in a loop until enough frames were counted or the stream has ended."""
    shown: Queue[RenderedFrame] = Queue()
    seen, stop = VisibilityCount(clip), threading.Event()

    def send() -> None:
        decoder, due = Decoder(), clock()
        for jpeg in repeat_frames(clip):
            if stop.is_set() or stream.ended is not None:
                return
            stream.add_frame(decoder.decode(jpeg))
            due = max(due + 1 / FRAMES_PER_SECOND, clock())
            stop.wait((due - clock()) * SLOWDOWN)

    remove_viewer = stream.add_viewer(shown.put, 9)
    stream.start()
    sender = threading.Thread(target=send)
    sender.start()
    deadline = time.monotonic() + TIMEOUT_SECONDS
    try:
        while not is_enough(seen) and time.monotonic() < deadline:
            try:
                seen.add(shown.get(timeout=0.2).jpeg)
            except Empty:
                if not any(thread.is_alive() for thread in stream._threads):
                    break
    finally:
        stop.set()
        sender.join()
        stream.end("the test is over")
        assert stream.join(60)
        remove_viewer()
    while not shown.empty():
        seen.add(shown.get().jpeg)
    return seen


def require_black_end(stream: Stream, clip: Clip) -> None:
    """Play the clip until the stream fails. Require a black last frame and no visible face before it."""
    frames: list[RenderedFrame] = []
    stream.add_viewer(frames.append, 9)
    seen = play_clip(stream, clip, lambda _: False)

    assert stream.ended == FAILED
    assert seen.leaked == []
    final = VisibilityCount(clip)
    final.add(frames[-1].jpeg)
    assert final.black == 1


def test_target_is_visible_and_the_other_face_is_not(engine: Engine, gallery: Gallery, clip: Clip) -> None:
    seen = play_clip(
        Stream(engine, make_plan(gallery), clock), clip, lambda seen: seen.kept > 30 and seen.hidden > 60
    )

    assert seen.leaked == []
    assert seen.kept > 30
    assert seen.hidden > 60


def test_stream_without_targets_hides_all_faces(engine: Engine, clip: Clip) -> None:
    seen = play_clip(Stream(engine, make_plan(None), clock), clip, lambda seen: seen.hidden > 60)

    assert (seen.leaked, seen.kept) == ([], 0)
    assert seen.hidden > 60
    assert seen.lost > 0


def test_picture_is_black_if_detection_takes_too_long(engine: Engine, gallery: Gallery, clip: Clip) -> None:
    slow = InstrumentedEngine(
        engine, lambda: time.sleep(SLOWDOWN * (make_plan(gallery).delay_seconds + MAX_OVERDUE_SECONDS))
    )

    seen = play_clip(Stream(slow, make_plan(gallery), clock), clip, lambda seen: seen.black > 20)  # type: ignore[arg-type]

    assert seen.black > 20
    assert seen.frames == seen.black


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_hidden_face_stays_hidden_while_detection_stalls_at_random(
    seed: int, engine: Engine, gallery: Gallery, clip: Clip
) -> None:
    rng = random.Random(seed)
    stalling = InstrumentedEngine(
        engine, lambda: time.sleep(SLOWDOWN * rng.choice([0, 0, 0, 0, 0.1, 0.3, 1.0]))
    )

    seen = play_clip(
        Stream(stalling, make_plan(gallery), clock),  # type: ignore[arg-type]
        clip,
        lambda seen: seen.hidden > 20 and seen.frames > 40,
    )

    assert seen.leaked == []
    assert seen.frames > 40


def test_exception_in_detection_ends_the_stream_in_black(
    engine: Engine, gallery: Gallery, clip: Clip
) -> None:
    detections = iter(range(30))

    def fail_at_last() -> None:
        if next(detections, None) is None:
            raise RuntimeError("the detector failed")

    require_black_end(Stream(InstrumentedEngine(engine, fail_at_last), make_plan(gallery), clock), clip)  # type: ignore[arg-type]


def test_picture_that_changes_its_size_is_refused(engine: Engine, gallery: Gallery) -> None:
    stream = Stream(engine, make_plan(gallery))
    assert stream.add_frame(av.VideoFrame(640, 360, "yuv420p"))
    wait_until(
        lambda: stream.add_frame(av.VideoFrame(640, 360, "yuv420p")), "the stream accepts another frame"
    )

    def is_refused() -> bool:
        try:
            stream.add_frame(av.VideoFrame(360, 640, "yuv420p"))
        except VideoError as error:
            return "size of the picture changed" in str(error)
        return False

    wait_until(is_refused, "the frame of another size is refused")


def test_exception_in_redaction_ends_the_stream_in_black(
    engine: Engine, gallery: Gallery, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(range(20))

    def fail_at_last(*arguments: object) -> None:
        if next(left, None) is None:
            raise RuntimeError("no memory")
        redact_boxes(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("defacer.web.live.stream.redact_boxes", fail_at_last)
    require_black_end(Stream(engine, make_plan(gallery), clock), clip)


def test_service_stops_only_after_the_threads_of_its_streams(
    engine: Engine, gallery: Gallery, clip: Clip, environment: Environment
) -> None:
    """A thread that still detected faces when the interpreter ended would abort the process."""
    streams: list[Stream] = []
    detecting = threading.Event()

    def wait_for_end() -> None:
        detecting.set()
        wait_until(lambda: streams[0].ended is not None, "the service stops")

    def create_stream(plan: StreamPlan) -> Stream:
        streams.append(Stream(InstrumentedEngine(engine, wait_for_end), plan))  # type: ignore[arg-type]
        return streams[0]

    async def run_service() -> None:
        registry = SessionRegistry(create_stream)
        async with registry.run_reaper():
            registry.start(make_plan(gallery), None)
            streams[0].add_frame(Decoder().decode(clip.jpegs[0]))
            assert await asyncio.to_thread(detecting.wait, 60)

    asyncio.run(run_service())
    assert streams[0].join(0)


def test_frame_waits_for_the_sample_that_might_still_mask_it() -> None:
    """The mask of a face that the last sample shows first begins LEAD_SECONDS earlier, not before."""
    faces = Faces(
        detector="centerface", recognizer=None, match_threshold=0.0, width=1, height=1,
        time_base="1/1000", frames=0, sampled_frames=0, cuts=(), tracks=(),
    )  # fmt: skip
    lead = round(LEAD_SECONDS * 1000)
    assert not LiveSnapshot(until=lead, faces=faces).covers(0)
    assert LiveSnapshot(until=lead + 1, faces=faces).covers(0)


def test_viewers_beyond_the_limit_are_refused(engine: Engine) -> None:
    stream = Stream(engine, make_plan(None))
    remove_viewer = stream.add_viewer(print, 1)
    with pytest.raises(TooManyViewersError):
        stream.add_viewer(print, 1)
    remove_viewer()
    stream.add_viewer(print, 1)
