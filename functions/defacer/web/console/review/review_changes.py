"""Request the re-render of a reviewed video with a person's changes, or confirm a job that waits for the person."""

from dataclasses import replace

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from defacer.pipeline import awaiting_review
from defacer.pipeline.channel import list_kept_people
from defacer.pipeline.lifecycle import rerender_request
from defacer.report.edits import Edits
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import read_limited_body
from defacer.web.console.rendering import channel_url
from defacer.web.console.review import engine_adapter
from defacer.web.console.review.published_review import NO_TRACK, Review, load_review

RERENDER_LIMIT = RateLimiter(10)


class _Changes(BaseModel):
    """A person's changes, and the version of the review that they are about."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str
    edits: Edits


async def request_edits(request: Request, _: dict[str, str]) -> Response:
    """Request a re-render with the edits in the body, or confirm. Return the page that shows the progress."""
    RERENDER_LIMIT.enforce(request)
    body = await read_limited_body(request, rerender_request.MAX_BYTES)
    review = await run_in_threadpool(load_review, request)
    await run_in_threadpool(_request, review, body)
    return JSONResponse({"jobs": channel_url(review.channel, "jobs")})


def _request(review: Review, body: bytes) -> None:
    edits = _renumber(review, _parse_edits(review, body))
    try:
        merged = review.pending.merge(edits)
    except ValueError as error:
        raise _outdated(review) from error
    engine_adapter.require_valid_edits(review.report, merged, list_kept_people(review.channel))
    if review.is_waiting:
        awaiting_review.confirm(review.job, edits)
        return
    rerender_request.request_rerender(review.job, edits)


def _parse_edits(review: Review, body: bytes) -> Edits:
    try:
        changes = _Changes.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(422, "The changes can't be read. Load the page again and repeat them.") from error
    edits = changes.edits
    if changes.version != review.version:
        raise _outdated(review)
    if not review.has_source:
        raise HTTPException(422, "The source was deleted. Upload the video again to change it.")
    if not edits and not review.is_waiting:
        raise HTTPException(422, "Nothing was changed. Change a decision to re-render the video.")
    return edits


def _renumber(review: Review, edits: Edits) -> Edits:
    """Return the edits with the ids that the pending edits use."""
    numbers = {track: review.number_of(track) for track in edits.track_ids | edits.uncovered}
    if NO_TRACK in numbers.values():
        raise HTTPException(
            409,
            "The check of the result found this face. Change it when the requested re-render is published.",
        )
    pending, first_id = review.pending, edits.first_id
    if edits.added and pending.added and pending.first_id is not None:
        first_id = pending.first_id + len(pending.added)  # on the page, the pending tracks exist already
    return replace(edits.renumber(lambda track: numbers[track]), first_id=first_id)


def _outdated(review: Review) -> HTTPException:
    if review.is_waiting:
        return HTTPException(
            409, "This job started to wait for a person since the page was opened. Load it again."
        )
    return HTTPException(
        409,
        "This video was published or re-rendered, or a re-render was requested, since the page was opened. Load it "
        "again.",
    )
