"""Search the source for what a person wants to cover: follow a drawn box, or look again for missed faces.

A search takes a while. Its response has one JSON object per line: the progress, and at last the result or an error.
The search stops when the browser ends the request.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from defacer.engine_host import HOST, EngineBusyError
from defacer.pipeline import log
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.report.compact_boxes import BoxAt
from defacer.report.edits import AddedTrack
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import read_limited_body
from defacer.web.console.review import engine_adapter
from defacer.web.console.review.engine_adapter import SourceSpan
from defacer.web.console.review.published_review import Review, Seconds, load_review

SEARCH_LIMIT = RateLimiter(30)
MAX_SECONDS = 600  # of the video, so that a search ends before Cloud Run ends the request
MAX_ANCHORS = 200
MAX_BODY_BYTES = 64 * 1024
PROGRESS_SECONDS = 0.3
JSON_LINES = "application/jsonl"
Side = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]
Search = Callable[[Callable[[int], None]], dict[str, Any]]  # gets a callback for the number of read frames


class _Range(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    start: Seconds
    end: Seconds


class _DrawnBoxes(_Range):
    anchors: Annotated[
        list[tuple[Seconds, Side, Side, Side, Side]], Field(min_length=1, max_length=MAX_ANCHORS)
    ]


Body = TypeVar("Body", bound=_Range)


class _StoppedError(Exception):
    """The browser ended the request."""


async def follow_drawn_boxes(request: Request, _: dict[str, str]) -> Response:
    """Follow the face in the boxes of the body: `anchors`, `[second, x1, y1, x2, y2]` each, from `start` to `end`.

    The result has `detections` and `unconfirmed` spans, in seconds.
    """
    review, asked = await _load(request, _DrawnBoxes)
    span = _to_span(review, asked)
    anchors = [BoxAt(review.to_pts(second), (x1, y1, x2, y2)) for second, x1, y1, x2, y2 in asked.anchors]

    def search(progress: Callable[[int], None]) -> dict[str, Any]:
        return _describe(review, engine_adapter.follow_boxes(span, anchors, progress))

    return _stream(search, review, asked)


async def find_missed_faces(request: Request, _: dict[str, str]) -> Response:
    """Detect faces from `start` to `end` that no track has. The result has `tracks`, each as `follow_drawn_boxes`."""
    review, asked = await _load(request, _Range)
    span = _to_span(review, asked)

    def search(progress: Callable[[int], None]) -> dict[str, Any]:
        return {"tracks": [_describe(review, track) for track in engine_adapter.search_faces(span, progress)]}

    return _stream(search, review, asked)


async def _load(request: Request, kind: type[Body]) -> tuple[Review, Body]:
    SEARCH_LIMIT.enforce(request)
    body = await read_limited_body(request, MAX_BODY_BYTES)
    try:
        asked = kind.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(422, "The request can't be read. Load the page again and repeat it.") from error
    if asked.end - asked.start > MAX_SECONDS:
        minutes = MAX_SECONDS // 60
        raise HTTPException(422, f"A search covers at most {minutes} minutes. Choose a shorter range.")
    review = await run_in_threadpool(load_review, request)
    if not review.has_source:
        raise HTTPException(422, "The source was deleted, so it can't be searched.")
    return review, asked


def _to_span(review: Review, asked: _Range) -> SourceSpan:
    start, end = review.to_pts(asked.start), review.to_pts(asked.end)
    return SourceSpan(review.manifest, review.report, start, end)


def _describe(review: Review, track: AddedTrack) -> dict[str, Any]:
    return {
        "detections": [[review.to_seconds(item.pts), *item.box] for item in track.detections],
        "unconfirmed": [
            [review.to_seconds(first), review.to_seconds(last)] for first, last in track.unconfirmed
        ],
    }


def _stream(search: Search, review: Review, asked: _Range) -> Response:
    expected = max(1.0, (asked.end - asked.start) * review.report.frames / review.duration)
    return StreamingResponse(_generate_lines(search, expected), media_type=JSON_LINES)


async def _generate_lines(search: Search, expected_frames: float) -> AsyncIterator[str]:
    stopped, frames = threading.Event(), 0

    def count_frames(count: int) -> None:
        nonlocal frames
        if stopped.is_set():
            raise _StoppedError
        frames = max(frames, count)

    task = asyncio.ensure_future(_run(search, count_frames))
    try:
        while not task.done():
            yield json.dumps({"progress": round(min(1.0, frames / expected_frames), 3)}) + "\n"
            await asyncio.wait({task}, timeout=PROGRESS_SECONDS)
        yield json.dumps(task.result()) + "\n"
    finally:
        stopped.set()


async def _run(search: Search, progress: Callable[[int], None]) -> dict[str, Any]:
    try:
        return await HOST.searches.run(lambda: search(progress))
    except _StoppedError:
        return {}
    except PermanentError as error:
        return {"error": str(error)}
    except EngineBusyError:
        return {"error": "Too many searches are in progress. Try again in a minute."}
    except RetryableError as error:
        log.warning("storage failed during a search", error)
        return {"error": "Cloud Storage is not available at the moment. Try again in a minute."}
