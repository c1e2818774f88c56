"""Cut pictures of faces out of the source. None is stored, except one that a user saves as a target picture."""

import json

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from defacer.engine_host import HOST
from defacer.pipeline.channel import list_targets
from defacer.pipeline.settings import settings
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.edits import TrackId
from defacer.report.face_views import FaceView, choose_views
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import is_own_page, read_limited_body
from defacer.web.console import people
from defacer.web.console.engine_adapter import PictureCheck
from defacer.web.console.review import engine_adapter
from defacer.web.console.review.published_review import NO_TRACK, Review, Seconds, load_review, parse_track_id

CROP_LIMIT = RateLimiter(600)
SAVE_LIMIT = RateLimiter(20)
MAX_BODY_BYTES = 64 * 1024
MAX_COMPARED = 6
SAVED = PictureCheck(usable=True, message="One clear face, from a video.")
END_TOLERANCE_SECONDS = 1.0  # a mask ends shortly after the last frame, so that rounding leaves no frame out
MAX_ROWS, MAX_FACES = 12, 6  # of a contact sheet
VIEWS_HEADER = "X-Views"  # for each row, from the left: [[track, second]]


class _Face(BaseModel):
    """A face to save: the detection of a track that is nearest to a time.

    `groups` are the person groups of tracks that the page changed and did not request yet.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    person: str
    track: TrackId
    second: Seconds
    groups: dict[TrackId, TrackId]


async def show_crops(request: Request) -> Response:
    """Return a JPEG with a row of up to six faces for each list of tracks in the query: `tracks=3,5&tracks=8`.

    A list that ends with `:1` has one face. A list can also be one box: `tracks=@SECOND,X1,Y1,X2,Y2`.
    """
    if not is_own_page(request.headers, settings().console_origins.split(",")):
        raise HTTPException(403, "This request was not sent by a page of the console. Open the page again.")
    CROP_LIMIT.enforce(request)
    review = await run_in_threadpool(load_review, request)
    rows = _choose(review, request.query_params.getlist("tracks"))
    picture = await HOST.pictures.run(lambda: engine_adapter.render_faces(review.manifest, rows))
    places = [[[view.track, review.to_seconds(view.pts)] for view in row] for row in rows]
    return Response(picture, media_type="image/jpeg", headers={VIEWS_HEADER: json.dumps(places)})


async def save_target(request: Request, _: dict[str, str]) -> Response:
    """Save the face in the body, a `_Face`, as a target picture.

    It is an ordinary target picture, so `forget` and the page People remove it.
    """
    SAVE_LIMIT.enforce(request)
    body = await read_limited_body(request, MAX_BODY_BYTES)
    review = await run_in_threadpool(load_review, request)
    try:
        face = _Face.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(422, "The face can't be read. Load the page again.") from error
    views = _choose_compared(review, face)
    person = people.require_person_name(review.channel, face.person)
    await HOST.pictures.run(lambda: _save(review, person, views))
    return JSONResponse({"person": person})


def _save(review: Review, person: str, views: list[FaceView]) -> None:
    known = [
        target for target in list_targets(settings().intake_bucket, review.channel) if target.person == person
    ]
    picture = engine_adapter.make_target_picture(review.manifest, views, known, person)
    people.store_picture(review.channel, person, picture, SAVED)


def _choose_compared(review: Review, face: _Face) -> list[FaceView]:
    """Return the face, and views of the other tracks of its card. A track alone has its own other views."""
    card = review.card_of(face.track, face.groups)
    if review.has_withdrawn(card):
        raise HTTPException(422, "This person withdrew their consent, so no picture of them can be saved.")
    boxes = _require_tracks(review, card)
    nearest = min(boxes[face.track], key=lambda item: abs(review.to_seconds(item.pts) - face.second))
    wanted = FaceView(face.track, nearest.pts, nearest.box)
    others = {number: found for number, found in boxes.items() if number != face.track} or boxes
    views = choose_views(sorted(others.items(), key=lambda item: -len(item[1])), MAX_COMPARED)
    return [wanted, *(view for view in views if view != wanted)]


def _choose(review: Review, lists: list[str]) -> list[list[FaceView]]:
    if not 1 <= len(lists) <= MAX_ROWS:
        raise HTTPException(422, f"The request has {len(lists)} lists of tracks, expected 1 to {MAX_ROWS}.")
    return [_parse_row(review, text) for text in lists]


def _parse_row(review: Review, text: str) -> list[FaceView]:
    """Return the views of a list of tracks, or the one view of a box: `@SECOND,X1,Y1,X2,Y2`."""
    if text.startswith("@"):
        return [_parse_box(review, text)]
    listed, _, count = text.partition(":")
    wanted = {parse_track_id(number) for number in listed.split(",")[:MAX_FACES]}
    longest = sorted(_require_tracks(review, wanted).items(), key=lambda item: -len(item[1]))
    return choose_views(longest, 1 if count == "1" else MAX_FACES)


def _parse_box(review: Review, text: str) -> FaceView:
    try:
        second, *sides = (float(part) for part in text[1:].split(","))
        x1, y1, x2, y2 = sides
        pts = review.to_pts(second)
    except (ValueError, OverflowError) as error:
        raise HTTPException(422, f"{text} is not a box, expected @SECOND,X1,Y1,X2,Y2.") from error
    faces = review.report.faces
    x1, x2 = (min(max(side, 0), faces.width) for side in (x1, x2))
    y1, y2 = (min(max(side, 0), faces.height) for side in (y1, y2))
    if not (x1 < x2 and y1 < y2 and 0 <= second <= review.duration + END_TOLERANCE_SECONDS):
        raise HTTPException(422, f"The box {text} is not in the video.")
    _require_source(review)
    pts = pts if faces.end is None else min(pts, faces.end)
    return FaceView(NO_TRACK, pts, (x1, y1, x2, y2))


def _require_tracks(review: Review, wanted: set[int]) -> dict[int, CompactBoxes]:
    """Return the boxes of these tracks. Raise 404 without the source, or if one of the tracks is unknown."""
    _require_source(review)
    found = review.boxes_of(wanted)
    if not found or len(found) < len(wanted):
        raise HTTPException(404, "The report has no such track. Load the page again.")
    return found


def _require_source(review: Review) -> None:
    if not review.has_source:
        raise HTTPException(404, "The source was deleted, so its faces can't be shown.")
