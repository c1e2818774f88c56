"""Cut pictures of faces out of the source on request. None is stored, and no browser or proxy keeps one."""

import json

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from defacer.engine.rendering.contact_sheet import FaceView, choose_views
from defacer.engine_host import HOST
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import is_same_origin
from defacer.web.console import engine_adapter
from defacer.web.console.review.published_review import Review, load_review

CROP_LIMIT = RateLimiter(600)
MAX_ROWS, MAX_FACES = 12, 6  # of a contact sheet
VIEWS_HEADER = "X-Views"  # for each row, from the left: [[track, second]]


async def show_crops(request: Request) -> Response:
    """Return a JPEG with a row of up to six faces for each list of tracks in the query: `tracks=3,5&tracks=8`."""
    if not is_same_origin(request.headers):
        raise HTTPException(403, "This request was not sent by a page of the console. Open the page again.")
    CROP_LIMIT.enforce(request)
    review = await run_in_threadpool(load_review, request)
    rows = _choose(review, request.query_params.getlist("tracks"))
    picture = await HOST.run(lambda: engine_adapter.render_faces(review.manifest.source, rows))
    places = [[[view.track, review.to_seconds(view.pts)] for view in row] for row in rows]
    return Response(picture, media_type="image/jpeg", headers={VIEWS_HEADER: json.dumps(places)})


def _choose(review: Review, lists: list[str]) -> list[list[FaceView]]:
    if not review.has_source:
        raise HTTPException(404, "The source was deleted, so its faces can't be shown.")
    if not 1 <= len(lists) <= MAX_ROWS:
        raise HTTPException(422, f"The request has {len(lists)} lists of tracks, expected 1 to {MAX_ROWS}.")
    detections = {track.id: track.detections for track in review.report.tracks}
    rows = []
    for text in lists:
        wanted = {int(number) for number in text.split(",")[:MAX_FACES] if number.isdecimal()}
        if not wanted or not wanted <= detections.keys():
            raise HTTPException(404, "The report has no such track. Load the page again.")
        longest = sorted(wanted, key=lambda track: -len(detections[track]))
        rows.append(choose_views([(track, detections[track]) for track in longest], MAX_FACES))
    return rows
