"""The list of a channel's jobs, which stays up to date while it is open, and retrying failed jobs."""

import asyncio
import json
import math
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.lifecycle import job_state as pipeline_jobs
from defacer.pipeline.lifecycle.job_status import JobStatus, read_job_status
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.report.texts import describe_edits
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import get_csrf_token
from defacer.web.console.channels import require_channel
from defacer.web.console.rendering import channel_url, render_console_page, render_fragment

PAGE, MAX_SHOWN = 40, 1000  # jobs that the page shows at first, and at most
MAX_SEARCH_CHARACTERS, MAX_DIGITS = 200, 6
REFRESH_SECONDS = 1.5  # storage is read once in this time, for any number of viewers
CHANGE_STREAM_SECONDS = 600.0  # then the page reconnects
MAX_CHANGE_STREAMS = 24
MAX_CACHED_JOBS, MAX_CACHED_LISTS = 2000, 100
RETRY_LIMIT = RateLimiter(20)


@dataclass(frozen=True)
class ListedJob:
    """A job that a channel's buckets refer to. `trigger` is the upload or re-render request that started it."""

    job: str
    updated: datetime
    name: str
    trigger: ObjectRef | None

    @property
    def title(self) -> str:
        """The video's name in its channel."""
        video = object_names.parse_video(self.name)
        return video.path if video else self.name


@dataclass(frozen=True)
class JobQuery:
    """Which jobs a page shows: the newest `most` of the channel, whose names contain `search` in any case."""

    channel: str
    search: str
    most: int

    @classmethod
    def of(cls, request: Request, fields: Mapping[str, str]) -> "JobQuery":
        """Return the query of a form or of a URL. A number that is not valid counts as PAGE."""
        search = fields.get("search", "").strip()[:MAX_SEARCH_CHARACTERS]
        most = fields.get("most", "")
        number = int(most) if most.isascii() and most.isdigit() and len(most) <= MAX_DIGITS else PAGE
        return cls(require_channel(request), search, min(max(number, PAGE), MAX_SHOWN))

    def matches(self, listed: ListedJob) -> bool:
        """Return whether the search finds this job."""
        return self.search.casefold() in listed.title.casefold()


@dataclass(frozen=True)
class JobCard:
    """A job with its status, as the list shows it. `replaces` is the published job that it renders again."""

    listed: ListedJob
    status: JobStatus
    replaces: JobStatus | None = None

    @property
    def is_running_rerender(self) -> bool:
        """Whether the job renders a published video again, and has not ended."""
        trigger = self.listed.trigger
        is_rerender = trigger is not None and object_names.parse_rerender(trigger.name) is not None
        return is_rerender and not self.status.is_over

    @property
    def job(self) -> str:
        """The job's id."""
        return self.listed.job

    @property
    def name(self) -> str:
        """The video's name in its channel."""
        for name in (self.status.source, self.listed.name):
            video = object_names.parse_video(name) if name else None
            if video is not None:
                return video.path
        return "a video"


@dataclass
class _JobListCache:
    """The cards of a query, when they were read, and the task that reads them now."""

    read_at: float = -math.inf
    cards: list[JobCard] = field(default_factory=list)
    has_more: bool = False
    refresh: asyncio.Task[None] | None = None


class JobLists:
    """The cards of each query, at most REFRESH_SECONDS old. The status of an ended job is read once.

    One thread reads a query for all its viewers. The viewers wait without a thread.
    """

    def __init__(self) -> None:
        self._lists: OrderedDict[JobQuery, _JobListCache] = OrderedDict()
        self._lock = threading.Lock()  # never held while storage is read
        self._ended: OrderedDict[str, JobStatus] = OrderedDict()

    async def get_cards(self, query: JobQuery) -> tuple[list[JobCard], bool]:
        """Return the cards, and whether more jobs match. Raise RetryableError if storage can't be read."""
        cache = self._lists.setdefault(query, _JobListCache())
        self._lists.move_to_end(query)
        while len(self._lists) > MAX_CACHED_LISTS:
            self._lists.popitem(last=False)
        if cache.refresh is None and time.monotonic() - cache.read_at > REFRESH_SECONDS:
            cache.refresh = asyncio.create_task(self._refresh(cache, query))
            cache.refresh.add_done_callback(_retrieve_exception)
        if cache.refresh is not None:
            await asyncio.shield(cache.refresh)  # a viewer that leaves must not cancel it for the others
        return cache.cards, cache.has_more

    async def _refresh(self, cache: _JobListCache, query: JobQuery) -> None:
        try:
            cache.cards, cache.has_more = await run_in_threadpool(self._read_cards, query)
            cache.read_at = time.monotonic()
        finally:
            cache.refresh = None

    def _read_cards(self, query: JobQuery) -> tuple[list[JobCard], bool]:
        listed = [each for each in list_jobs(query.channel).values() if query.matches(each)]
        listed.sort(key=lambda each: (each.updated, each.job), reverse=True)
        cards = [JobCard(each, self._read_status(each.job, each.name)) for each in listed[: query.most]]
        return remove_replaced(cards), len(listed) > query.most

    def _read_status(self, job: str, name: str) -> JobStatus:
        with self._lock:
            ended = self._ended.get(job)
        if ended is not None:
            return ended
        status = read_job_status(job, name)
        if status.is_over and status.is_readable:  # an operator can repair or erase an unreadable job
            with self._lock:
                self._ended[job] = status
                while len(self._ended) > MAX_CACHED_JOBS:
                    self._ended.popitem(last=False)
        return status


def _retrieve_exception(task: asyncio.Task[None]) -> None:
    """Mark the task's exception as retrieved: its viewers got it, and without viewers it does not matter."""
    if not task.cancelled():
        task.exception()


class _ChangeStream(StreamingResponse):
    """The changes for one viewer. Raise 503 if MAX_CHANGE_STREAMS are open."""

    open_count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _ChangeStream.open_count >= MAX_CHANGE_STREAMS:
            message = "Too many job lists are open. Load the page again in a minute."
            raise HTTPException(503, message, {"Retry-After": "60"})
        _ChangeStream.open_count += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            _ChangeStream.open_count -= 1


_job_lists = JobLists()


def list_jobs(channel: str) -> dict[str, ListedJob]:
    """Return the channel's jobs by id: those of its results, its uploads and its re-render requests."""
    config = settings()
    jobs: dict[str, ListedJob] = {}
    for blob in objects.list_blobs(config.output_bucket, object_names.channel_prefix(channel)):
        job, source = (
            (blob.metadata or {}).get(key) for key in (object_names.OF_JOB, object_names.OF_SOURCE)
        )
        if job and source and object_names.is_job_id(job):
            jobs[job] = ListedJob(job, blob.updated, source, None)
    upload_names = {}
    for blob in objects.list_blobs(config.intake_bucket, object_names.videos_prefix(channel)):
        if object_names.parse_video(blob.name) is not None and blob.size:  # ingest ignores an empty object
            ref = objects.reference(blob)
            job = object_names.job_of(ref)
            jobs[job] = ListedJob(job, blob.updated, blob.name, ref)
            upload_names[job] = blob.name
    for blob in objects.list_blobs(config.intake_bucket, object_names.rerender_prefix(channel)):
        parsed = object_names.parse_rerender(blob.name)
        if parsed is not None:
            ref = objects.reference(blob)
            job = object_names.job_of(ref)
            jobs[job] = ListedJob(job, blob.updated, upload_names.get(parsed.upload, blob.name), ref)
    return jobs


def remove_replaced(cards: list[JobCard]) -> list[JobCard]:
    """Return the cards, newest first, with one result of each video: the newest one.

    While a job renders a video again, its card shows that result too.
    """
    published: set[str] = set()
    rerenders: dict[str, int] = {}  # the places of running re-renders by the name of the video
    remaining: list[JobCard] = []
    for card in cards:
        if card.status.has_result:
            if card.name in published:
                continue
            published.add(card.name)
            if card.name in rerenders:
                place = rerenders[card.name]
                remaining[place] = replace(remaining[place], replaces=card.status)
                continue
        elif card.is_running_rerender:
            rerenders.setdefault(card.name, len(remaining))
        remaining.append(card)
    return remaining


def require_job(request: Request) -> tuple[str, str]:
    """Return the channel and the job in the request's path. Raise 404 if the channel does not have the job."""
    channel, job = require_channel(request), str(request.path_params["job"])
    if object_names.is_job_id(job):
        manifest = pipeline_jobs.try_read_manifest(job)
        if (manifest is not None and manifest.document.channel == channel) or job in list_jobs(channel):
            return channel, job
    raise HTTPException(404, "This channel does not have that job. Choose a job on the page Jobs.")


async def show_jobs(request: Request) -> Response:
    """Render the list. `static/jobs.js` keeps it up to date and searches it."""
    query = JobQuery.of(request, {"most": request.query_params.get("most", "")})
    cards, has_more = await _job_lists.get_cards(query)
    return render_console_page(
        request,
        "jobs.html",
        channel=query.channel,
        tab="jobs",
        cards=[_render_card(query.channel, card, get_csrf_token(request)) for card in cards],
        most=query.most,
        more=min(query.most + PAGE, MAX_SHOWN),
        has_more=has_more,
    )


async def stream_changes(request: Request, fields: dict[str, str]) -> Response:
    """Return JSON lines: the order of the jobs, each card that changed, and whether more jobs match.

    The search text is in the body, because Cloud Run logs URLs.
    """
    lines = _generate_lines(request, JobQuery.of(request, fields))
    return _ChangeStream(lines, media_type="application/jsonl")


async def retry(request: Request, _: dict[str, str]) -> Response:
    """Retry a failed job: copy its upload or re-render request onto itself, which starts a new job."""
    RETRY_LIMIT.enforce(request)
    channel, job = await run_in_threadpool(require_job, request)
    await run_in_threadpool(_copy_trigger, channel, job)
    return RedirectResponse(channel_url(channel, "jobs"), 303)


async def _generate_lines(request: Request, query: JobQuery) -> AsyncIterator[str]:
    sent: dict[str, str] = {}
    order: list[str] | None = None  # the first line is sent even if no job matches
    deadline = time.monotonic() + CHANGE_STREAM_SECONDS
    while time.monotonic() < deadline and not await request.is_disconnected():
        try:
            cards, has_more = await _job_lists.get_cards(query)
        except RetryableError:
            yield "\n"  # detects that the page is closed
            await asyncio.sleep(REFRESH_SECONDS)
            continue
        current = {card.job: _render_card(query.channel, card, get_csrf_token(request)) for card in cards}
        changed = {job: html for job, html in current.items() if sent.get(job) != html}
        if changed or list(current) != order:
            sent, order = current, list(current)
            yield f"{json.dumps({'order': order, 'changed': changed, 'more': has_more})}\n"
        else:
            yield "\n"
        await asyncio.sleep(REFRESH_SECONDS)


def _render_card(channel: str, card: JobCard, token: str) -> str:
    status = card.status
    return render_fragment(
        "_job.html",
        channel=channel,
        csrf=token,
        job=card.job,
        name=card.name,
        updated=card.listed.updated,
        status=status,
        state_text=status.title,
        progress=status.progress(datetime.now(UTC)),
        replaces=card.replaces,
        can_retry=status.can_try_again and card.listed.trigger is not None,
        change=_describe_rerender(status),
    )


def _describe_rerender(status: JobStatus) -> str | None:
    """Return what the re-render changed, such as `2 decisions and 1 mask`; None for another job."""
    if status.manifest is None or status.manifest.rerender is None:
        return None
    return describe_edits(status.manifest.rerender.edits)


def _copy_trigger(channel: str, job: str) -> None:
    status = read_job_status(job, None)
    listed = list_jobs(channel).get(job)
    if not status.has_error:
        raise HTTPException(
            409, "Only failed jobs can be retried, and this job has not failed. Load the page again."
        )
    if not status.can_try_again:
        raise HTTPException(409, "A retry of this job would fail again. Do what its error message says.")
    if listed is None or listed.trigger is None:
        raise HTTPException(409, "The video was deleted from the channel. Upload it again.")
    ref = listed.trigger
    blob = objects.find_blob(ref.bucket, ref.name, ref.generation)
    metadata = dict(blob.metadata or {}) if blob else {}
    objects.copy(ref, ref.bucket, ref.name, generation=ref.generation, metadata=metadata)
