"""Pictures of faces in the review: contact sheets, and saving a face as a target picture."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests

from defacer.commands.app import main
from defacer.engine.rendering.contact_sheet import FACE_SIDE
from defacer.pipeline.channel import list_kept_people
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.face_views import choose_views
from defacer.report.tracks import Reason
from tests.clips import Clip, admiral, astronaut, encode_picture, frame_times, write_clip
from tests.cloud import Buckets
from tests.console.published_job import make_track, publish
from tests.console.visitor import SCRIPT, Visitor
from tests.planned import Planned

pytestmark = pytest.mark.usefixtures("limited")

FACE, NO_FACE = (290.0, 40.0, 390.0, 160.0), (10.0, 200.0, 110.0, 300.0)
TARGETS = "channels/street/targets/"


@pytest.fixture
def portrait(buckets: Buckets, tmp_path: Path) -> Planned:
    """Publish a clip with one face. Track 0 is on the face, and track 1 beside it."""
    clip = write_clip(tmp_path / "walk.mp4", Clip(size=(640, 360), portrait=astronaut()))
    return publish_boxes(buckets, clip, FACE, NO_FACE)


def publish_boxes(buckets: Buckets, clip: Path, *boxes: Box, **more: object) -> Planned:
    """Publish the clip with a track of a hidden person in each of these places."""
    times = frame_times(clip)
    tracks = [
        make_track(
            number,
            "hide",
            -0.5,
            **{  # type: ignore[arg-type]
                "start": times[0],
                "end": times[-1],
                "detections": CompactBoxes((pts, box) for pts in times[::5]),
                **more,
            },
        )
        for number, box in enumerate(boxes)
    ]
    return publish(buckets, clip, tracks)


def get_crops(visitor: Visitor, planned: Planned, query: str, site: str = "same-origin") -> requests.Response:
    address = visitor.url("street", "jobs", planned.job) + f"/crops?{query}"
    return visitor.session.get(address, headers={**SCRIPT, "Sec-Fetch-Site": site}, timeout=60)


def save(
    visitor: Visitor, planned: Planned, person: str, track: int, groups: dict[int, int] | None = None
) -> requests.Response:
    address = visitor.url("street", "jobs", planned.job) + "/targets"
    sent: dict[str, Any] = {"person": person, "track": track, "second": 0.7, "groups": groups or {}}
    return visitor.post(address, json.dumps(sent), {"Content-Type": "application/json"})


def test_contact_sheet_has_a_row_of_faces_for_each_list(visitor: Visitor, portrait: Planned) -> None:
    answer = get_crops(visitor, portrait, "tracks=0,1&tracks=1")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert answer.headers["Cache-Control"] == "no-store"
    views = json.loads(answer.headers["X-Views"])
    assert [len(row) for row in views] == [6, 6]
    assert {track for track, _ in views[0]} == {0, 1}
    assert [second for _, second in views[1]] == sorted(second for _, second in views[1])
    sheet = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert sheet is not None
    assert sheet.shape == (2 * FACE_SIDE, 6 * FACE_SIDE, 3)
    column = next(place for place, (track, _) in enumerate(views[0]) if track == 0)
    found = sheet[:FACE_SIDE, FACE_SIDE * column : FACE_SIDE * (column + 1)]
    face = cv2.resize(found, (16, 16), interpolation=cv2.INTER_AREA).astype(int)
    assert face[6:10, 6:10, 0].mean() > face[6:10, 6:10, 2].mean() + 20  # skin is more red than blue


def test_one_face_of_a_track_or_of_a_box_is_cut_out(visitor: Visitor, portrait: Planned) -> None:
    box = ",".join(map(str, FACE))
    answer = get_crops(visitor, portrait, f"tracks=@0.5,{box}")
    assert answer.status_code == 200
    assert json.loads(answer.headers["X-Views"]) == [[[-1, pytest.approx(0.5, abs=0.05)]]]
    assert (
        get_crops(visitor, portrait, "tracks=@0.5,-9,-9.5,999,999").status_code == 200
    )  # its part in the frame
    one = get_crops(visitor, portrait, "tracks=0:1")
    assert [len(row) for row in json.loads(one.headers["X-Views"])] == [1]


@pytest.mark.parametrize(
    ("query", "site", "status"),
    [
        ("", "same-origin", 422),
        ("tracks=7", "same-origin", 404),
        ("tracks=x", "same-origin", 404),
        (f"tracks={'1' * 5000}", "same-origin", 404),
        ("&".join(["tracks=0"] * 13), "same-origin", 422),
        ("tracks=@0.5,0,0,9", "same-origin", 422),
        ("tracks=@inf,0,0,9,9", "same-origin", 422),
        ("tracks=@0.5,0,990,9,999", "same-origin", 422),
        ("tracks=0", "cross-site", 403),
    ],
    ids=[
        "no list",
        "unknown track",
        "no number",
        "endless number",
        "too many lists",
        "three sides",
        "infinite time",
        "outside the frame",
        "another site",
    ],
)
def test_invalid_or_foreign_request_for_faces_is_refused(
    visitor: Visitor, portrait: Planned, query: str, site: str, status: int
) -> None:
    assert get_crops(visitor, portrait, query, site).status_code == status


@pytest.mark.parametrize(
    "body",
    ["no JSON", "[" * 20_000, '{"track": Infinity}', '{"track": 0.5}', f'{{"track": {"1" * 5000}}}'],
    ids=["no JSON", "deep", "infinite", "fraction", "endless number"],
)
def test_unreadable_target_picture_or_changes_are_refused(
    visitor: Visitor, portrait: Planned, body: str
) -> None:
    face = {"person": "Eileen", "track": 0, "second": 0.7, "groups": {}}
    if body.startswith("{"):
        body = json.dumps(face)[:-1] + "," + body[1:]
    for path in ("targets", "edits"):
        address = visitor.url("street", "jobs", portrait.job) + f"/{path}"
        answer = visitor.post(address, body, {"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"].endswith(".")) == (422, True)


def test_views_are_large_and_spread_over_tracks_and_time() -> None:
    long = CompactBoxes((pts, (0, 0, 10 + pts % 7, 10)) for pts in range(100))
    short = CompactBoxes([(3, (0, 0, 5, 5)), (4, (0, 0, 6, 6))])
    views = choose_views([(7, long), (8, short)], 6)
    assert [view.track for view in views].count(8) == 2
    assert all(view.box[2] == 16 for view in views if view.track == 7)
    assert [view.pts for view in views] == sorted(view.pts for view in views)
    assert choose_views([], 6) == []


def test_saved_face_is_a_target_picture_of_a_new_person(
    visitor: Visitor, buckets: Buckets, portrait: Planned
) -> None:
    answer = save(visitor, portrait, " Eileen ", 0)
    assert (answer.status_code, answer.json()) == (200, {"person": "Eileen"})
    (name,) = buckets.names(buckets.intake, TARGETS)
    assert name.startswith(f"{TARGETS}Eileen/")
    assert list_kept_people("street") == ("Eileen",)
    picture = cv2.imdecode(np.frombuffer(buckets.get(buckets.intake, name), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[0] > 120
    assert "Eileen" in visitor.open(visitor.url("street", "people"))


def test_forget_deletes_a_saved_face(
    visitor: Visitor, buckets: Buckets, portrait: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    buckets.put(buckets.intake, f"{TARGETS}Grace/1.png", b"a picture")
    assert save(visitor, portrait, "Zoe\u0308", 0).status_code == 200  # a letter and its accent
    (name,) = set(buckets.names(buckets.intake, TARGETS)) - {f"{TARGETS}Grace/1.png"}
    assert main(["person", "forget", "Zo\u00eb", "--channel", "street", "--yes"]) == 0  # one letter
    assert name in capsys.readouterr().out
    assert buckets.names(buckets.intake, TARGETS) == [f"{TARGETS}Grace/1.png"]


def test_face_unlike_the_pictures_of_the_person_is_not_saved(
    visitor: Visitor, buckets: Buckets, portrait: Planned
) -> None:
    buckets.put(buckets.intake, f"{TARGETS}Grace/1.png", encode_picture(admiral()))
    answer = save(visitor, portrait, "Grace", 0)
    assert answer.status_code == 422
    assert "does not look enough like the pictures of Grace" in answer.json()["error"]
    assert buckets.names(buckets.intake, TARGETS) == [f"{TARGETS}Grace/1.png"]
    buckets.put(buckets.intake, f"{TARGETS}Eileen/1.png", encode_picture(astronaut()))
    assert save(visitor, portrait, "Eileen", 0).status_code == 200


def test_face_unlike_the_other_tracks_of_its_card_is_not_saved(
    visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    both = np.zeros((600, 600, 3), np.uint8)
    both[:300, :300] = astronaut()
    both[:300, 300:] = cv2.resize(admiral(), (300, 300), interpolation=cv2.INTER_AREA)
    clip = write_clip(tmp_path / "walk.mp4", Clip(size=(1280, 720), seconds=1, portrait=both))
    # Each portrait is 324 pixels wide. The left one begins at 316, 36.
    left, right = (448.0, 58.0, 548.0, 178.0), (740.0, 70.0, 870.0, 210.0)
    planned = publish_boxes(buckets, clip, left, right, (450.0, 58.0, 550.0, 178.0), group=0)
    answer = save(visitor, planned, "Eileen", 0, {2: 3})
    assert answer.status_code == 422
    assert "does not look enough like the other faces of this card" in answer.json()["error"]
    assert save(visitor, planned, "Eileen", 0, {1: 3}).status_code == 200


def test_face_of_a_forgotten_person_is_not_saved(visitor: Visitor, buckets: Buckets, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "walk.mp4", Clip(size=(640, 360), portrait=astronaut()))
    planned = publish_boxes(buckets, clip, FACE, reason=Reason.CONSENT_WITHDRAWN)
    answer = save(visitor, planned, "Eileen", 0)
    assert answer.status_code == 422
    assert "withdrew their consent" in answer.json()["error"]
    assert buckets.names(buckets.intake, TARGETS) == []
    sent = json.dumps({"version": planned.job, "edits": {"decisions": {"0": "keep"}}})
    address = visitor.url("street", "jobs", planned.job) + "/edits"
    kept = visitor.post(address, sent, {"Content-Type": "application/json"})
    assert (kept.status_code, "withdrew their consent" in kept.json()["error"]) == (422, True)


def test_face_is_not_saved_if_no_other_face_of_its_card_is_clear(
    visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "walk.mp4", Clip(size=(640, 360), portrait=astronaut()))
    planned = publish_boxes(buckets, clip, FACE, NO_FACE, group=0)
    answer = save(visitor, planned, "Eileen", 0)
    assert (answer.status_code, "no other face of this card is clear" in answer.json()["error"]) == (
        422,
        True,
    )
    buckets.put(buckets.intake, f"{TARGETS}Eileen/1.png", encode_picture(astronaut()))
    assert save(visitor, planned, "Eileen", 0).status_code == 200


def test_blurred_face_is_not_saved(visitor: Visitor, buckets: Buckets, tmp_path: Path) -> None:
    blurred = cv2.GaussianBlur(astronaut(), (0, 0), 4).astype(np.uint8)
    clip = write_clip(tmp_path / "walk.mp4", Clip(size=(640, 360), seconds=1, portrait=blurred))
    answer = save(visitor, publish_boxes(buckets, clip, FACE), "Eileen", 0)
    assert (answer.status_code, "its face is not sharp" in answer.json()["error"]) == (422, True)


@pytest.mark.parametrize(
    ("person", "track", "message"),
    [
        ("Ada", 1, "shows no face"),
        ("a/b", 0, "it has a slash"),
        ("", 0, "it is empty"),
    ],
    ids=["no face", "slash", "empty"],
)
def test_picture_without_a_face_or_name_is_not_saved(
    visitor: Visitor, buckets: Buckets, portrait: Planned, person: str, track: int, message: str
) -> None:
    answer = save(visitor, portrait, person, track)
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert buckets.names(buckets.intake, TARGETS) == []
