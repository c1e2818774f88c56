"""A stream with the real models: who is hidden is never seen, however slow looking is and whatever fails."""

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
from defacer.engine.recognition.identity import limits_of
from defacer.engine.rendering.masks import LEAD_SECONDS
from defacer.engine.rendering.redaction import Style, redact
from defacer.engine.streaming import LiveSnapshot, follow
from defacer.engine.tracking.detection_pass import Targets
from defacer.engine.tracking.face_report import VERSION, Faces
from defacer.web.live.jpeg import Decoder
from defacer.web.live.stream import FAILED, HOLD_SECONDS, FullError, Plan, Shown, Stream
from tests.live.pictures import FRAMES_PER_SECOND, Clip, Seen, endlessly
from tests.servers import wait_until

PATIENCE_SECONDS = 300.0  # until a busy machine has shown enough
SLOWER = 6  # than real time: a busy machine is quick enough then


def clock() -> float:
    return time.monotonic() / SLOWER


class Hampered:
    """An engine whose detector does something before each look."""

    def __init__(self, engine: Engine, before: Callable[[], None]):
        self._engine = engine
        self._before = before

    def follow(
        self, frames: Iterable[av.VideoFrame], time_base: Fraction, gallery: Gallery | None, options: Options
    ) -> Iterator[LiveSnapshot]:
        inner, before = self._engine.detector("centerface"), self._before

        class Slow:
            name, sure = inner.name, inner.sure

            def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
                for _ in images:
                    before()
                return inner.detect(images)

        detector: Detector = Slow()
        assert gallery is not None
        targets = Targets(gallery, self._engine.recognizer(options.recognizer), limits_of(options))
        return follow(frames, time_base, detector, targets)


def plan(gallery: Gallery | None) -> Plan:
    return Plan(gallery, Options(), Style(), delay_seconds=0.5, most_frames_per_second=20)


def play(stream: Stream, clip: Clip, enough: Callable[[Seen], bool]) -> Seen:
    """Send the clip as a camera does, over and over, until enough was seen or the stream has ended."""
    shown: Queue[Shown] = Queue()
    seen, stop = Seen(clip), threading.Event()

    def send() -> None:
        decoder, due = Decoder(), clock()
        for jpeg in endlessly(clip):
            if stop.is_set() or stream.ended is not None:
                return
            stream.take(decoder.decode(jpeg))
            due = max(due + 1 / FRAMES_PER_SECOND, clock())
            stop.wait((due - clock()) * SLOWER)

    leave = stream.watch(shown.put, 9)
    stream.start()
    sender = threading.Thread(target=send)
    sender.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not enough(seen) and time.monotonic() < deadline:
            try:
                seen.look(shown.get(timeout=0.2).jpeg)
            except Empty:
                if not any(thread.is_alive() for thread in stream._threads):
                    break
    finally:
        stop.set()
        sender.join()
        stream.end("the test is over")
        assert stream.join(60)
        leave()
    while not shown.empty():
        seen.look(shown.get().jpeg)
    return seen


def ends_in_black(stream: Stream, clip: Clip) -> None:
    """Whatever fails, nobody was seen, and what is seen last is black."""
    last: list[Shown] = []
    stream.watch(last.append, 9)
    seen = play(stream, clip, lambda _: False)

    assert stream.ended == FAILED
    assert seen.leaked == []
    final = Seen(clip)
    final.look(last[-1].jpeg)
    assert final.black == 1


def test_the_target_is_seen_and_the_other_one_never(engine: Engine, gallery: Gallery, clip: Clip) -> None:
    seen = play(Stream(engine, plan(gallery), clock), clip, lambda seen: seen.kept > 30 and seen.hidden > 60)

    assert seen.leaked == []
    assert seen.kept > 30
    assert seen.hidden > 60


def test_without_targets_nobody_is_seen(engine: Engine, clip: Clip) -> None:
    seen = play(Stream(engine, plan(None), clock), clip, lambda seen: seen.hidden > 60)

    assert (seen.leaked, seen.kept) == ([], 0)
    assert seen.hidden > 60
    assert seen.lost > 0


def test_the_picture_is_black_where_looking_takes_too_long(
    engine: Engine, gallery: Gallery, clip: Clip
) -> None:
    slow = Hampered(engine, lambda: time.sleep(SLOWER * (plan(gallery).delay_seconds + HOLD_SECONDS)))

    seen = play(Stream(slow, plan(gallery), clock), clip, lambda seen: seen.black > 20)  # type: ignore[arg-type]

    assert seen.black > 20
    assert seen.frames == seen.black


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_nobody_is_seen_who_is_hidden_while_looking_comes_and_goes(
    seed: int, engine: Engine, gallery: Gallery, clip: Clip
) -> None:
    dice = random.Random(seed)
    moody = Hampered(engine, lambda: time.sleep(SLOWER * dice.choice([0, 0, 0, 0, 0.1, 0.3, 1.0])))

    seen = play(Stream(moody, plan(gallery), clock), clip, lambda seen: seen.hidden > 20 and seen.frames > 40)  # type: ignore[arg-type]

    assert seen.leaked == []
    assert seen.frames > 40


def test_a_look_that_raises_ends_the_stream_with_a_black_picture(
    engine: Engine, gallery: Gallery, clip: Clip
) -> None:
    looks = iter(range(30))

    def break_down() -> None:
        if next(looks, None) is None:
            raise RuntimeError("the detector broke down")

    ends_in_black(Stream(Hampered(engine, break_down), plan(gallery), clock), clip)  # type: ignore[arg-type]


def test_a_picture_that_changes_its_size_is_refused(engine: Engine, gallery: Gallery) -> None:
    stream = Stream(engine, plan(gallery))
    assert stream.take(av.VideoFrame(640, 360, "yuv420p"))
    wait_until(lambda: stream.take(av.VideoFrame(640, 360, "yuv420p")), "it was time for another frame")

    def refused() -> bool:
        try:
            stream.take(av.VideoFrame(360, 640, "yuv420p"))
        except VideoError as error:
            return "changed its size" in str(error)
        return False

    wait_until(refused, "the frame of another size was refused")


def test_hiding_that_raises_ends_the_stream_with_a_black_picture(
    engine: Engine, gallery: Gallery, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(range(20))

    def break_down(*arguments: object) -> None:
        if next(left, None) is None:
            raise RuntimeError("no memory")
        redact(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("defacer.web.live.stream.redact", break_down)
    ends_in_black(Stream(engine, plan(gallery), clock), clip)


def test_a_frame_waits_for_the_look_that_may_yet_cover_it() -> None:
    """A face that is first seen at the very end of what was looked at is covered so much earlier, and no later."""
    found = Faces(
        version=VERSION, detector="centerface", recognizer=None, match_threshold=0.0, width=1, height=1,
        time_base="1/1000", frames=0, looks=0, shots=(), tracks=(),
    )  # fmt: skip
    lead = round(LEAD_SECONDS * 1000)
    assert not LiveSnapshot(until=lead, faces=found).decides(0)
    assert LiveSnapshot(until=lead + 1, faces=found).decides(0)


def test_no_more_watch_a_stream_than_may(engine: Engine) -> None:
    stream = Stream(engine, plan(None))
    leave = stream.watch(print, 1)
    with pytest.raises(FullError):
        stream.watch(print, 1)
    leave()
    stream.watch(print, 1)
