"""Review a published job: source and result side by side, its tracks on a timeline, and changing their decisions.

Users of the console see sources, because it has no access rights of its own. If the source was deleted, only the result
is shown.
"""

import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import rerender_request
from defacer.pipeline.lifecycle.job_status import JobStatus, read_job_status
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.plurals import resemblance
from defacer.report.edits import Edits
from defacer.report.texts import ADVICE
from defacer.report.tracks import Decision, Reason, TrackRecord
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.console import signed_urls
from defacer.web.console.jobs import require_job
from defacer.web.console.rendering import channel_url, format_clock, render_console_page

RERENDER_LIMIT = RateLimiter(10)
UNSURE_SHARE = (
    0.1  # a decision is close if the distance is this near to the match threshold, as a share of it
)
MAX_ROWS = 300
MAX_REPORT_BYTES = 32 * 1024 * 1024  # rendering the page holds the whole report in memory
FIELD_PREFIX = "track-"
TIMELINE_WIDTH, MIN_WIDTH = 1000, 4  # units of the timeline, and the smallest visible track
KINDS = ("unsure", "kept", "hidden")  # in the order of the page
REASON_TEXT = {
    Reason.MATCHED: "Similar enough to a picture of this target",
    Reason.NO_MATCH: "Not similar enough to any target",
    Reason.NO_TARGETS: "The channel had no targets, so all faces are hidden",
    Reason.SAME_PERSON: "The same person as another kept track of this video",
    Reason.CONTINUATION: "Continues a kept track, with no other face near it",
    Reason.AMBIGUOUS: "Another track is nearer to the target, and the two do not look like one person",
    Reason.UNLIKE_TARGET: "Does not look like the target, in the place of a kept face",
    Reason.FOUND_BY_VERIFICATION: "Found by the check of the finished video, and hidden",
    Reason.RIVAL_NEARER: "Another face in the same frame is nearer to the target",
    Reason.RIVAL_AS_NEAR: "Another face in the same frame is as near to the target",
    Reason.NOT_COMPARABLE: "Never visible clearly enough to compare it with a target",
    Reason.NOT_ENOUGH_SEEN: "Not visible for long enough",
    Reason.FOUND_BY_SEARCH: "Found by looking again, and hidden until you keep it",
    Reason.MANUAL: "Manual decision",
    Reason.CONSENT_WITHDRAWN: "This person withdrew their consent",
}


@dataclass(frozen=True)
class TrackRow:
    """A track on the page. `x` and `width` are its place on the timeline, in thousandths of the video.

    `decision` is the report's. `requested` is the decision of a re-render request that is not published yet, or else
    the same as `decision`. Times are in seconds.
    """

    id: int
    decision: Decision
    requested: Decision
    label: str
    reason: Reason
    resemblance: str
    unsure: bool
    start: float
    end: float
    x: int
    width: int

    @property
    def kind(self) -> str:
        """The row's kind, one of KINDS."""
        if self.unsure:
            return "unsure"
        return "kept" if self.decision == "keep" else "hidden"

    @property
    def span(self) -> str:
        """The time span, such as `0:05–0:12`."""  # noqa: RUF002
        start, end = format_clock(self.start), format_clock(self.end)
        return start if start == end else f"{start}–{end}"  # noqa: RUF001

    @property
    def reason_text(self) -> str:
        """The reason as a sentence without its full stop."""
        return REASON_TEXT[self.reason]


@dataclass(frozen=True)
class Review:
    """A published job with its current report. `pending` are requested edits that are not published yet."""

    channel: str
    job: str
    manifest: Manifest
    report: JobReport
    has_source: bool
    pending: Edits = field(default_factory=Edits)

    @property
    def version(self) -> str:
        """Identifies the state that a page shows, so that an outdated form can be refused."""
        requested = hashlib.sha256(self.pending.to_bytes()).hexdigest()[:16]
        return f"{self.report.job}-{requested}" if self.pending else self.report.job

    def to_seconds(self, pts: int) -> float:
        """Return the time as a player counts it, from the first frame on."""
        return float((pts - self.manifest.video.start_pts) * Fraction(self.report.faces.time_base))


async def show_job(request: Request) -> Response:
    """Render the review of a published job, or the status of any other job."""
    channel, job = await run_in_threadpool(require_job, request)
    status = await run_in_threadpool(read_job_status, job, None)
    if not status.has_result or status.manifest is None:
        return render_console_page(request, "not_ready.html", channel=channel, tab="jobs", job_status=status)
    return await run_in_threadpool(_render_review, request, channel, status, status.manifest)


async def redirect_to_source(request: Request) -> Response:
    """Redirect to a signed URL of the source."""
    return await run_in_threadpool(_redirect_to_media, request, "source")


async def redirect_to_result(request: Request) -> Response:
    """Redirect to a signed URL of the result. With the query parameter `save`, the browser saves it to a file."""
    return await run_in_threadpool(_redirect_to_media, request, "result")


async def redirect_to_report(request: Request) -> Response:
    """Redirect to a signed URL of the report, as `redirect_to_result` does."""
    return await run_in_threadpool(_redirect_to_media, request, "report")


async def show_track(request: Request) -> Response:
    """Return the detections of a track as JSON: `[second, x1, y1, x2, y2]` each, in pixels of the frame."""
    review = await run_in_threadpool(_load_review, request)
    number = request.path_params["track"]
    track = next((track for track in review.report.tracks if track.id == number), None)
    if track is None:
        raise HTTPException(404, f"The report has no track {number}. Load the page again.")
    faces = review.report.faces
    detections = [[round(review.to_seconds(item.pts), 3), *item.box] for item in track.detections]
    return JSONResponse({"width": faces.width, "height": faces.height, "detections": detections})


async def rerender_with_decisions(request: Request, fields: dict[str, str]) -> Response:
    """Request a re-render with the form's changed decisions."""
    RERENDER_LIMIT.enforce(request)
    review = await run_in_threadpool(_load_review, request)
    if fields.get("version") != review.version:
        raise HTTPException(
            409,
            "This video was re-rendered, or a re-render was requested, since the page was opened. Load it again.",
        )
    decisions = find_changes(fields, review.report.tracks, review.pending.decisions)
    if not decisions:
        raise HTTPException(422, "No decision was changed. Change one to re-render the video.")
    await run_in_threadpool(rerender_request.request_rerender, review.job, Edits(decisions=decisions))
    return RedirectResponse(channel_url(review.channel, "jobs"), 303)


def find_changes(
    fields: Mapping[str, str], tracks: Sequence[TrackRecord], pending: Mapping[int, Decision]
) -> dict[int, Decision]:
    """Return the form's decisions that differ from the requested ones, or else from the report's."""
    chosen = {track.id: fields.get(f"{FIELD_PREFIX}{track.id}") for track in tracks}
    return {
        track.id: cast(Decision, chosen[track.id])
        for track in tracks
        if chosen[track.id] in ("keep", "hide") and chosen[track.id] != pending.get(track.id, track.decision)
    }


def build_rows(review: Review) -> list[TrackRow]:
    """Return all tracks: first those with a requested decision, then close decisions, kept and hidden tracks."""
    last = max((review.to_seconds(track.end) for track in review.report.tracks), default=0.0)
    duration = max(review.manifest.video.duration_seconds or 0.0, last, 0.001)
    rows = [_build_row(review, track, duration) for track in review.report.tracks]
    rows.sort(key=lambda row: (row.requested == row.decision, KINDS.index(row.kind), row.start, row.id))
    return rows


def _build_row(review: Review, track: TrackRecord, duration: float) -> TrackRow:
    start, end = max(0.0, review.to_seconds(track.start)), review.to_seconds(track.end)
    x = min(TIMELINE_WIDTH - MIN_WIDTH, round(TIMELINE_WIDTH * start / duration))
    width = min(TIMELINE_WIDTH - x, round(TIMELINE_WIDTH * (end - start) / duration))
    return TrackRow(
        id=track.id,
        decision=track.decision,
        requested=review.pending.decisions.get(track.id, track.decision),
        label=track.person if track.decision == "keep" and track.person else "Unnamed face",
        reason=track.reason,
        resemblance=resemblance(track.distance, track.strangers_per_10000),
        unsure=is_unsure(track, review.report.faces.match_threshold),
        start=start,
        end=end,
        x=x,
        width=max(MIN_WIDTH, width),
    )


def is_unsure(track: TrackRecord, match_threshold: float) -> bool:
    """Return whether the decision was close, or whether the distance alone would have decided otherwise.

    The distance alone would hide a track that is kept as the same person as another one, and would keep a track that is
    hidden because another face in the same frame was as near. A manual decision is never unsure.
    """
    if track.reason == Reason.MANUAL or track.margin is None:
        return False
    margin = track.margin if track.decision == "keep" else -track.margin
    return margin < UNSURE_SHARE * match_threshold


def _render_review(request: Request, channel: str, status: JobStatus, manifest: Manifest) -> Response:
    review = _build_review(channel, status.job, manifest)
    rows = build_rows(review)
    return render_console_page(
        request,
        "review.html",
        channel=channel,
        tab="jobs",
        job=status.job,
        name=manifest.source.name.removeprefix(object_names.videos_prefix(channel)),
        report=review.report,
        warnings=[f"{item.message} {ADVICE.get(item.code, '')}" for item in review.report.faces.warnings],
        version=review.version,
        requested=len(review.pending.decisions),
        has_source=review.has_source,
        rows=rows[:MAX_ROWS],
        left_out=max(0, len(rows) - MAX_ROWS),
        left_out_kept=sum(row.decision == "keep" for row in rows[MAX_ROWS:]),
        track_count=len(rows),
        has_unsure=any(row.unsure for row in rows),
        width=TIMELINE_WIDTH,
    )


def _load_review(request: Request) -> Review:
    channel, job = require_job(request)
    status = read_job_status(job, None)
    if not status.has_result or status.manifest is None:
        raise HTTPException(409, "This job is not published. Review it when it is.")
    return _build_review(channel, job, status.manifest)


def _build_review(channel: str, job: str, manifest: Manifest) -> Review:
    """Read the published report. Raise PermanentError if it is missing, too large, or of another upload."""
    blob = objects.find_blob(settings().output_bucket, manifest.report)
    if blob is None:
        raise PermanentError(ErrorCode.RESULT_GONE, "The result was deleted. Upload the video again.")
    if blob.size > MAX_REPORT_BYTES:
        raise PermanentError(
            ErrorCode.REPORT_TOO_LARGE,
            "This video has more tracks than a page can show. Its result and its report are published. The report "
            f"lists the tracks. Run defacer job rerender {job} --hide TRACK to change a decision.",
        )
    report = objects.read_report(objects.reference(blob))
    if report.source != manifest.source:
        raise PermanentError(
            ErrorCode.RESULT_CHANGED,
            "A newer upload of this name replaced this result. Review the newer job.",
        )
    has_source = _exists(manifest.source)
    return Review(channel, job, manifest, report, has_source, rerender_request.pending(manifest.source))


def _exists(ref: ObjectRef) -> bool:
    return objects.find_blob(ref.bucket, ref.name, ref.generation) is not None


def _redirect_to_media(request: Request, kind: str) -> Response:
    _, job = require_job(request)
    status = read_job_status(job, None)
    if status.manifest is None or not status.has_result:
        raise HTTPException(404, "This job is not published. Review it when it is.")
    manifest = status.manifest
    if kind == "source":
        ref: ObjectRef | None = manifest.source
        file_name = manifest.source.name.rpartition("/")[2]
    elif kind == "result":
        ref = _find_published(manifest, manifest.result)
        file_name = object_names.download_name(manifest.result)
    else:
        ref = _find_published(manifest, manifest.report)
        file_name = object_names.download_name(manifest.result, ".report.jsonl")
    if ref is None or not _exists(ref):
        raise HTTPException(404, f"The {kind} was deleted or replaced. Load the page again.")
    # A browser plays only content with a video type, and an upload can have another type.
    guessed = mimetypes.guess_type(ref.name)[0] or ""
    video_type = guessed if guessed.startswith("video/") else "video/mp4"
    content_type = objects.JSON_LINES if kind == "report" else video_type
    save = "save" in request.query_params
    return RedirectResponse(signed_urls.sign_read_url(ref, file_name, content_type, save=save), 303)


def _find_published(manifest: Manifest, name: str) -> ObjectRef | None:
    """Return this object of the output bucket if it belongs to the manifest's upload, or None.

    The result of another upload must not be shown beside this source.
    """
    blob = objects.find_blob(settings().output_bucket, name)
    generation = str(manifest.source.generation)
    if blob is None or (blob.metadata or {}).get(object_names.OF_SOURCE_GENERATION) != generation:
        return None
    return objects.reference(blob)
