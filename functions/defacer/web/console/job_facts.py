"""What the list of jobs shows of a result on request: one of its frames, and how many tracks are kept and hidden.

The page asks when a card becomes visible, because both take longer than the list. Neither is stored.
"""

from collections import Counter

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.lifecycle.job_status import read_job_status
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.console import engine_adapter
from defacer.web.console.jobs import require_job
from defacer.web.console.review.published_review import load_review
from defacer.web.console.review.review_data import is_unsure

FACTS_LIMIT = RateLimiter(600)
CACHING = {"Cache-Control": "private, max-age=600"}  # by the viewer's browser only


async def show_thumbnail(request: Request) -> Response:
    """Return a JPEG of a frame of the result."""
    FACTS_LIMIT.enforce(request)
    result = await run_in_threadpool(_require_result, request)
    picture = await run_in_threadpool(engine_adapter.render_thumbnail, result)
    return Response(picture, media_type="image/jpeg", headers=CACHING)


async def count_tracks(request: Request) -> Response:
    """Return how many tracks are kept, hidden and unsure, as JSON."""
    FACTS_LIMIT.enforce(request)
    return JSONResponse(await run_in_threadpool(_count_tracks, request), headers=CACHING)


def _count_tracks(request: Request) -> dict[str, int]:
    report = load_review(request).report
    decisions = Counter(track.decision for track in report.tracks)
    unsure = sum(is_unsure(track, report.faces.match_threshold) for track in report.tracks)
    return {"kept": decisions["keep"], "hidden": decisions["hide"], "unsure": unsure}


def _require_result(request: Request) -> ObjectRef:
    _, job = require_job(request)
    published = read_job_status(job, None).published
    if published is None or published.result is None:
        raise HTTPException(404, "This job has no result. Load the page again.")
    return published.result
