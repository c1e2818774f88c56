"""Jobs: what a channel's videos have come to, live; and starting a failed one again."""

import asyncio
import json
import math
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.lifecycle import job_state as pipeline_jobs
from defacer.pipeline.lifecycle.job_status import STATES, JobStatus, job_status_of
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import token_of
from defacer.web.console.channels import channel_of
from defacer.web.console.rendering import at, fragment, page

MAX_SHOWN = 40
FRESH_SECONDS = 1.5  # however many look on, storage is asked once in this time
STREAM_SECONDS = 600.0  # then the browser comes again by itself
MAX_STREAMS = 24
MAX_ENDED, MAX_BOARDS = 2000, 100
AGAIN_A_MINUTE = RateLimiter(20)


@dataclass(frozen=True)
class Trace:
    """A job that a channel's buckets tell of. `begun_by`: whose arrival began it, a video or a wish, if it is there."""

    job: str
    at: datetime
    name: str
    begun_by: ObjectRef | None


@dataclass(frozen=True)
class JobCard:
    """A job as the list shows it."""

    trace: Trace
    view: JobStatus

    @property
    def job(self) -> str:
        return self.trace.job

    @property
    def name(self) -> str:
        """What the video is called in its channel."""
        for name in (self.view.source, self.trace.name):
            video = object_names.parse_video(name) if name else None
            if video is not None:
                return video.path
        return "a video"


@dataclass
class _JobListCache:
    """A channel's cards, when they were looked for, and who is looking for them now."""

    made: float = -math.inf
    cards: list[JobCard] = field(default_factory=list)
    looking: asyncio.Task[None] | None = None


class _JobLists:
    """Each channel's cards, as they were a moment ago; jobs that are over are read once.

    However many look on at a channel, one thread asks storage for it, and the others wait without one.
    """

    def __init__(self) -> None:
        self._boards: OrderedDict[str, _JobListCache] = OrderedDict()
        self._lock = threading.Lock()  # never held while storage is asked
        self._ended: OrderedDict[str, JobStatus] = OrderedDict()

    async def cards(self, channel: str) -> list[JobCard]:
        """Raises RetryableError if storage does not answer."""
        board = self._boards.setdefault(channel, _JobListCache())
        self._boards.move_to_end(channel)
        while len(self._boards) > MAX_BOARDS:
            self._boards.popitem(last=False)
        if board.looking is None and time.monotonic() - board.made > FRESH_SECONDS:
            board.looking = asyncio.create_task(self._renew(board, channel))
            board.looking.add_done_callback(_seen)
        if board.looking is not None:
            await asyncio.shield(board.looking)  # whoever leaves takes it from no other
        return board.cards

    async def _renew(self, board: _JobListCache, channel: str) -> None:
        try:
            board.cards = await run_in_threadpool(self._look, channel)
            board.made = time.monotonic()
        finally:
            board.looking = None

    def _look(self, channel: str) -> list[JobCard]:
        newest = sorted(traces(channel).values(), key=lambda trace: (trace.at, trace.job), reverse=True)
        cards = [JobCard(trace, self._view(trace.job, trace.name)) for trace in newest[:MAX_SHOWN]]
        return without_replaced(cards)

    def _view(self, job: str, name: str) -> JobStatus:
        with self._lock:
            ended = self._ended.get(job)
        if ended is not None:
            return ended
        view = job_view(job, name)
        if view.over and view.is_readable:  # else somebody may mend or erase it
            with self._lock:
                self._ended[job] = view
                while len(self._ended) > MAX_ENDED:
                    self._ended.popitem(last=False)
        return view


def _seen(task: asyncio.Task[None]) -> None:
    """Whoever waited has heard of its fault; if nobody did, it is none."""
    if not task.cancelled():
        task.exception()


class _Live(StreamingResponse):
    """Events for one who looks on. Its place is free again however that ends. Raises 503 if there is none."""

    taken = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _Live.taken >= MAX_STREAMS:
            sentence = "Too many look on already. Load the page again in a minute."
            raise HTTPException(503, sentence, {"Retry-After": "60"})
        _Live.taken += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            _Live.taken -= 1


_job_lists = _JobLists()


def traces(channel: str) -> dict[str, Trace]:
    """The channel's jobs: of the uploads that are there, of what was asked for again, and of the results."""
    known = settings()
    found: dict[str, Trace] = {}
    for blob in objects.list_blobs(known.output_bucket, object_names.channel_prefix(channel)):
        job, source = (
            (blob.metadata or {}).get(key) for key in (object_names.OF_JOB, object_names.OF_SOURCE)
        )
        if job and source and object_names.is_job_id(job):
            found[job] = Trace(job, blob.updated, source, None)
    names = {}
    for blob in objects.list_blobs(known.intake_bucket, object_names.videos_prefix(channel)):
        if object_names.parse_video(blob.name) is not None:
            ref = objects.reference(blob)
            job = object_names.job_id(ref.bucket, ref.name, ref.generation)
            found[job] = Trace(job, blob.updated, blob.name, ref)
            names[job] = blob.name
    for blob in objects.list_blobs(known.intake_bucket, object_names.rerender_prefix(channel)):
        asked = object_names.parse_rerender(blob.name)
        if asked is not None:
            ref = objects.reference(blob)
            job = object_names.job_id(ref.bucket, ref.name, ref.generation)
            found[job] = Trace(job, blob.updated, names.get(asked.upload, blob.name), ref)
    return found


def without_replaced(cards: list[JobCard]) -> list[JobCard]:
    """Newest first, of each video one that is published: rendered again, it has taken the earlier one's place."""
    published: set[str] = set()
    left = []
    for card in cards:
        if card.view.state == "published":
            if card.name in published:
                continue
            published.add(card.name)
        left.append(card)
    return left


def job_view(job: str, name: str | None) -> JobStatus:
    """How far a job is."""
    bucket = settings().work_bucket

    def read(name: str, model: Any) -> Any:
        found = objects.find_json(bucket, name, model)
        if found is None:  # between listing and reading: the next look will see it as it is
            raise RetryableError("a job's objects changed while they were read")
        return found[0]

    return job_status_of(job, objects.list_blobs(bucket, object_names.job_prefix(job)), name, read)


def require_job(request: Request) -> tuple[str, str]:
    """The channel and the job that are asked for. Raises 404 if there is no such job in the channel."""
    channel, job = channel_of(request), str(request.path_params["job"])
    if object_names.is_job_id(job):
        manifest = pipeline_jobs.try_read_manifest(job)
        if (manifest is not None and manifest[0].channel == channel) or job in traces(channel):
            return channel, job
    raise HTTPException(404, "There is no such job in this channel.")


async def show(request: Request) -> Response:
    """The list as it is; static/jobs.js keeps it so."""
    channel = channel_of(request)
    cards = await _job_lists.cards(channel)
    shown = [_html(channel, card, token_of(request)) for card in cards]
    return page(request, "jobs.html", channel=channel, tab="jobs", cards=shown, most=MAX_SHOWN)


async def live(request: Request) -> Response:
    """What changes, as server-sent events: the order of the jobs, and the cards that are not as they were."""
    return _Live(_events(request, channel_of(request)), media_type="text/event-stream")


async def again(request: Request, _: dict[str, str]) -> Response:
    """A failed job once more: the same bytes become a new object, video or wish, and so a new job."""
    AGAIN_A_MINUTE.require(request)
    channel, job = await run_in_threadpool(require_job, request)
    await run_in_threadpool(_again, channel, job)
    return RedirectResponse(at(channel, "jobs"), 303)


async def _events(request: Request, channel: str) -> AsyncIterator[str]:
    sent: dict[str, str] = {}
    order: list[str] = []
    until = time.monotonic() + STREAM_SECONDS
    while time.monotonic() < until and not await request.is_disconnected():
        try:
            cards = await _job_lists.cards(channel)
        except RetryableError:
            yield ": storage does not answer now\n\n"
            await asyncio.sleep(FRESH_SECONDS)
            continue
        now = {card.job: _html(channel, card, token_of(request)) for card in cards}
        changed = {job: html for job, html in now.items() if sent.get(job) != html}
        if changed or list(now) != order:
            sent, order = now, list(now)
            yield f"data: {json.dumps({'order': order, 'changed': changed})}\n\n"
        else:
            yield ": still here\n\n"
        await asyncio.sleep(FRESH_SECONDS)


def _html(channel: str, card: JobCard, token: str) -> str:
    view = card.view
    return fragment(
        "_job.html",
        channel=channel,
        csrf=token,
        job=card.job,
        name=card.name,
        when=card.trace.at,
        view=view,
        words=STATES[view.state],
        progress=view.progress(datetime.now(UTC)),
        can_retry=view.can_try_again and card.trace.begun_by is not None,
    )


def _again(channel: str, job: str) -> None:
    view = job_view(job, None)
    trace = traces(channel).get(job)
    if view.state != "failed":
        raise HTTPException(409, "This job has not failed. Load the page again.")
    if not view.can_try_again:
        raise HTTPException(409, "Trying this video again can't help. Its job says what to do.")
    if trace is None or trace.begun_by is None:
        raise HTTPException(409, "The video is not there any more. Drop it again.")
    ref = trace.begun_by
    there = objects.find(ref.bucket, ref.name, ref.generation)
    metadata = dict(there.metadata or {}) if there else {}
    objects.copy(ref, ref.bucket, ref.name, generation=ref.generation, metadata=metadata)
