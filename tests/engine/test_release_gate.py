"""Tests of the check of the result: visible faces are found and masked, or the segment is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Lock

import av
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.errors import QuarantinedError
from defacer.engine.media.joiner import SegmentFile, join_files
from defacer.engine.media.readback import Readback
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.models.arrays import Detection, Detector
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.tracking.linking import link_faces
from defacer.engine.verification import check_ahead, release_gate
from defacer.engine.verification.inspection import Inspector
from defacer.engine.verification.release_gate import VerifiedSegment, redact_and_verify
from defacer.report.faces import Faces
from defacer.report.tracks import Reason, TrackRecord
from tests.clips import Picture, astronaut, encode_picture, frame_times
from tests.engine.scene_files import (
    RATE,
    SECONDS,
    Shown,
    clock_face,
    coat_of_arms,
    faces_in,
    poster,
    socket,
    track_of,
    write_scene,
)

LEFT, RIGHT = Shown(astronaut(), (40, 80), 200), Shown(astronaut(), (380, 80), 200)
FRAMES = round(SECONDS * RATE)
Check = Callable[..., VerifiedSegment]


@pytest.fixture
def check(engine: Engine, tmp_path: Path) -> Check:
    """Redact a scene into `out.nut`."""

    def run(
        scene: Path, *tracks: TrackRecord, verify: str = "standard", **options: object
    ) -> VerifiedSegment:
        chosen = Options(verify=verify, **options)  # type: ignore[arg-type]
        picture = encode_picture(astronaut()) if chosen.mode == "image" else None
        return redact_and_verify(
            Segment(str(scene)),
            faces_in(scene, *tracks),
            tmp_path / "out.nut",
            chosen,
            engine.checker,
            picture,
        )

    return run


def changed(scene: Path, out: Path, shown: Shown) -> list[bool]:
    """Return for each frame that shows the face whether it is masked."""
    x1, y1, x2, y2 = (round(side) for side in shown.face)
    pairs = zip(read_frames(str(scene)), read_frames(str(out)), strict=True)
    found = []
    for number, pair in enumerate(pairs):
        before, after = (frame.to_ndarray(format="gray")[y1:y2, x1:x2].astype(np.float32) for frame in pair)
        if shown.first <= number <= shown.last:
            found.append(float(np.abs(before - after).mean()) > 12)
    return found


def tracks_found(redacted: VerifiedSegment) -> tuple[TrackRecord, ...]:
    """Return the tracks that the check found in the result."""
    assert redacted.checked is not None
    return redacted.checked.tracks


@pytest.fixture
def no_look_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode each frame before anything is found, as where frames are too large for the buffer."""
    monkeypatch.setattr(check_ahead, "AHEAD_SECONDS", 0)


def packets(path: Path) -> dict[float, bytes]:
    with av.open(str(path)) as container:
        return {
            float(packet.pts * packet.time_base): bytes(packet) for packet in container.demux() if packet.size
        }


def test_result_that_hides_everyone_passes_unchanged(check: Check, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.mp4", [LEFT])
    track = track_of(scene, LEFT, 0, "hide", 0, FRAMES - 1)
    without = packets(tmp_path / "out.nut") if check(scene, track, verify="off") else {}
    redacted = check(scene, track)
    assert tracks_found(redacted) == ()
    assert 10 <= redacted.checked.frames <= 13  # five a second, and both ends
    assert packets(tmp_path / "out.nut") == without


def test_face_that_no_track_follows_is_masked_in_every_frame(check: Check, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.mp4", [LEFT, RIGHT])
    redacted = check(scene, track_of(scene, LEFT, 4, "hide", 0, FRAMES - 1))
    (track,) = tracks_found(redacted)
    assert (track.id, track.decision, track.reason) == (5, "hide", Reason.FOUND_BY_VERIFICATION)
    assert all(changed(scene, tmp_path / "out.nut", RIGHT))
    assert list(redacted.written.frames) == frame_times(scene)


@pytest.mark.parametrize("look_ahead", [True, False], ids=["in time", "encoded again"])
@pytest.mark.parametrize(("first", "last"), [(0, 11), (19, 30), (38, 49)])
def test_face_of_twelve_frames_is_masked_in_each_of_them(
    first: int, last: int, look_ahead: bool, check: Check, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not look_ahead:
        request.getfixturevalue("no_look_ahead")
    face = replace(RIGHT, first=first, last=last)
    scene = write_scene(tmp_path / "scene.mp4", [face])
    assert len(tracks_found(check(scene))) == 1
    assert all(changed(scene, tmp_path / "out.nut", face))


def test_strict_check_finds_a_face_that_is_shown_for_one_frame(check: Check, tmp_path: Path) -> None:
    face = replace(RIGHT, first=20, last=20)
    scene = write_scene(tmp_path / "scene.mp4", [face])
    redacted = check(scene, verify="strict")
    assert redacted.checked is not None
    assert redacted.checked.frames == FRAMES
    assert changed(scene, tmp_path / "out.nut", face) == [True]


def test_face_that_no_track_follows_is_masked_before_it_is_encoded(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(release_gate._Reencoder, "mask_tracks")
    face = replace(RIGHT, first=15, last=35)
    scene = write_scene(tmp_path / "scene.mp4", [face])
    (track,) = tracks_found(check(scene))
    assert track.end - track.start == 20 * frame_times(scene)[1]
    assert all(changed(scene, tmp_path / "out.nut", face))


def test_masks_do_not_depend_on_the_speed_of_the_detector(
    check: Check, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write_scene(tmp_path / "scene.mp4", [LEFT, replace(RIGHT, first=15, last=35)])
    check(scene, verify="strict")
    quick = packets(tmp_path / "out.nut")
    lock, detect = Lock(), Inspector.detect

    def slowly(inspector: Inspector, frame: av.VideoFrame) -> list[Detection]:
        with lock:
            return detect(inspector, frame)

    monkeypatch.setattr(Inspector, "detect", slowly)
    check(scene, verify="strict")
    assert packets(tmp_path / "out.nut") == quick


def test_frames_that_the_encoder_changed_are_searched_in_the_result(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulate a fault of the encoder that shows a face which was not in the frames."""
    scene = write_scene(tmp_path / "scene.mp4", [])
    shows = write_scene(tmp_path / "shows.mp4", [RIGHT])
    frames = read_frames(str(shows))

    def expect(readback: Readback, frame: av.VideoFrame) -> None:
        """Replace the picture after its cells were stored."""
        remember(readback, frame)
        other = next(frames, None)
        for plane, wrong in zip(frame.planes, other.planes if other else (), strict=False):
            plane.update(bytes(wrong))

    remember = Readback.expect
    monkeypatch.setattr(Readback, "expect", expect)
    assert len(tracks_found(check(scene))) == 1
    assert all(changed(shows, tmp_path / "out.nut", RIGHT))


@pytest.mark.usefixtures("no_look_ahead")
def test_only_groups_of_pictures_with_a_found_face_are_encoded_again(check: Check, tmp_path: Path) -> None:
    face = replace(RIGHT, first=0, last=14)
    scene = write_scene(tmp_path / "scene.mp4", [face], seconds=6)
    check(scene, verify="off")
    before = packets(tmp_path / "out.nut")
    redacted = check(scene)
    after = packets(tmp_path / "out.nut")
    assert before.keys() == after.keys()
    kept = [time for time, data in after.items() if data == before[time]]
    assert min(kept) == 2
    assert 0.0 not in kept
    assert all(changed(scene, tmp_path / "out.nut", face))
    joined = join_files(
        str(scene), [SegmentFile.from_path(str(tmp_path / "out.nut"), redacted.written)], tmp_path / "out.mp4"
    )
    assert joined.frames == len(before)


def test_no_model_is_loaded_if_the_policy_turns_the_check_off(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.mp4", [RIGHT])

    def never() -> Detector:
        raise AssertionError("a model is loaded")

    redacted = redact_and_verify(
        Segment(str(scene)), faces_in(scene), tmp_path / "out.nut", Options(verify="off"), never
    )
    assert redacted.checked is None


@pytest.mark.usefixtures("no_look_ahead")
def test_face_that_the_second_rendering_leaves_visible_is_refused(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulate that the masks of the found faces are not drawn."""
    face = replace(RIGHT, first=10, last=30)
    scene = write_scene(tmp_path / "scene.mp4", [face])

    def forgetful(segment: Segment, faces: Faces, *arguments: object) -> object:
        return redact_segment(segment, faces_in(scene), *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(release_gate, "redact_segment", forgetful)
    with pytest.raises(QuarantinedError, match=r"still visible at 0\.4 s: .*If not, set verify to .off."):
        check(scene)


@pytest.mark.parametrize("mode", ["blur", "pixelate", "solid", "image"])
def test_masked_face_is_ignored_in_every_mode(mode: str, check: Check, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.mp4", [LEFT])
    track = track_of(scene, LEFT, 0, "hide", 0, FRAMES - 1)
    assert tracks_found(check(scene, track, mode=mode, verify="strict")) == ()


def test_kept_face_stays_visible(check: Check, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.mp4", [LEFT])
    assert tracks_found(check(scene, track_of(scene, LEFT, 0, "keep", 0, FRAMES - 1))) == ()
    assert not any(changed(scene, tmp_path / "out.nut", LEFT))


def test_kept_face_stays_visible_shortly_after_its_track_ended(check: Check, tmp_path: Path) -> None:
    """The first detector lost the face, but the second one detects it. For a second it is the same person."""
    scene = write_scene(tmp_path / "scene.mp4", [LEFT])
    redacted = check(scene, track_of(scene, LEFT, 0, "keep", 10, 30))
    assert tracks_found(redacted) == ()
    assert redacted.checked.passed["target"] == 1


def test_face_beside_a_kept_one_is_masked(check: Check, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.mp4", [LEFT, RIGHT])
    assert len(tracks_found(check(scene, track_of(scene, LEFT, 0, "keep", 0, FRAMES - 1)))) == 1
    assert not any(changed(scene, tmp_path / "out.nut", LEFT))
    assert all(changed(scene, tmp_path / "out.nut", RIGHT))


@pytest.mark.parametrize("picture", [coat_of_arms(), poster(), clock_face(), socket()])
def test_pictures_that_resemble_a_face_are_left_alone(picture: Picture, check: Check, tmp_path: Path) -> None:
    scene = write_scene(
        tmp_path / "scene.mp4", [Shown(picture, (40, 40), 120), Shown(picture, (300, 20), 300)]
    )
    assert tracks_found(check(scene, verify="strict")) == ()


def test_deleted_tracks_of_the_demo_clip_are_found_and_masked(
    engine: Engine, demo_clip: Path, gallery: Gallery, tmp_path: Path
) -> None:
    faces = link_faces(
        [engine.detect_segment(Segment(str(demo_clip)), gallery, Options())], gallery, Options()
    )
    kept = tuple(replace(track, continues=None) for track in faces.tracks if track.decision == "keep")
    redacted = redact_and_verify(
        Segment(str(demo_clip)), replace(faces, tracks=kept), tmp_path / "out.nut", Options(), engine.checker
    )
    assert tracks_found(redacted)
    seen = engine.detect_segment(Segment(str(tmp_path / "out.nut")), None, Options())
    places = {round(float(frame.pts * seen.time_base), 3) for frame in seen.samples if len(frame.faces) > 1}
    assert len(places) <= 2  # while the two cross


@pytest.mark.usefixtures("no_look_ahead")
def test_face_found_too_late_is_masked_although_its_encoded_frames_differ(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a low quality many encoded frames differ. They show no face where the check masked it in time."""
    face = replace(RIGHT, first=17, last=30)
    scene = write_scene(tmp_path / "scene.mp4", [face])
    times = frame_times(scene)
    finish = Readback.finish

    def report_all_masked_frames(readback: Readback) -> None:
        finish(readback)
        readback.differing |= set(times[18:31])

    monkeypatch.setattr(Readback, "finish", report_all_masked_frames)
    assert len(tracks_found(check(scene))) == 1
    assert all(changed(scene, tmp_path / "out.nut", face))
