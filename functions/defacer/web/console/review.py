"""Review: source and result side by side, each face through time, and deciding about one anew.

Whoever may open the console may see sources: there is nobody in between. Where a source is gone, only the result is
shown.
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

from defacer.engine.tracking.face_report import ADVICE
from defacer.pipeline.documents.base import Decision, ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import Report, Track
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import rerender_request
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.plurals import resemblance
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.console import signed_urls
from defacer.web.console.jobs import read_status, require_job
from defacer.web.console.rendering import channel_url, format_clock, render_page

RERENDER_LIMIT = RateLimiter(10)
UNSURE = 0.1  # of the keep distance: a track so near to it might have been decided the other way
MAX_ROWS = 300
MAX_REPORT_BYTES = 32 * 1024 * 1024  # a page holds all of it for a moment
FIELD = "track-"
WIDTH = 1000  # units of a timeline
# The reasons in reports, as the console words them.
REASON_TEXT = {
    "near a target": "Near enough to a picture of this person",
    "near no target": "Like none of the people you named",
    "no targets: everyone is hidden": "Nobody was named, so everybody is hidden",
    "the same person as a kept track": "Looks like another face in this video that stays visible as this person",
    "continues a kept track": "Follows, or comes before, a face that stays visible, and met no other face",
    "ambiguous: another track is nearer to the target, and the two do not look like one person": (
        "Another face in this video looks more like the person you named, and unlike this face"
    ),
    "does not look like the target, in the place of a kept face": (
        "Looks unlike the person you named, in the place of a face that stays visible"
    ),
    "found by the check of the result": "Found by the check of the finished video, and hidden",
}


@dataclass(frozen=True)
class Row:
    """A face through time. `x` and `width` are its place on the timeline, in thousandths of the video.

    `decision` is the report's; `asked` what is asked for already, or else the same.
    """

    id: int
    decision: Decision
    requested: Decision
    label: str
    reason: str
    resemblance: str
    unsure: bool
    start: float
    end: float
    x: int
    width: int

    @property
    def kind(self) -> str:
        if self.unsure:
            return "unsure"
        return "kept" if self.decision == "keep" else "hidden"

    @property
    def span(self) -> str:
        """When it is seen, in words."""
        start, end = format_clock(self.start), format_clock(self.end)
        return start if start == end else f"{start}–{end}"  # noqa: RUF001

    @property
    def reason_text(self) -> str:
        """The reason as a sentence without its full stop."""
        return REASON_TEXT.get(self.reason, self.reason[:1].upper() + self.reason[1:])


@dataclass(frozen=True)
class Shown:
    """What a review is about: the job, what is published under its name now, and whether the source is there.

    `pending` is what is asked for already and not published yet.
    """

    channel: str
    job: str
    manifest: Manifest
    report: Report
    has_source: bool
    pending: Mapping[int, Decision] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """What a form was made of: it decides on nothing that its page did not show."""
        asked = hashlib.sha256(repr(sorted(self.pending.items())).encode()).hexdigest()[:16]
        return f"{self.report.job}-{asked}" if self.pending else self.report.job

    def seconds(self, pts: int) -> float:
        """A time as players count it, from the first frame on."""
        return float((pts - self.manifest.video.start_pts) * Fraction(self.report.faces.time_base))


async def show(request: Request) -> Response:
    """The page of a job that is published; of any other how far it is."""
    channel, job = await run_in_threadpool(require_job, request)
    view = await run_in_threadpool(read_status, job, None)
    if not view.is_published or view.manifest is None:
        return render_page(request, "not_ready.html", channel=channel, tab="jobs", job_status=view)
    return await run_in_threadpool(_page, request, channel, view, view.manifest)


async def redirect_to_source(request: Request) -> Response:
    """To where the source can be read, for a while."""
    return await run_in_threadpool(_lead_to, request, "source")


async def redirect_to_result(request: Request) -> Response:
    """Redirect to the result. With the query parameter `save`, the browser saves it to a file."""
    return await run_in_threadpool(_lead_to, request, "result")


async def redirect_to_report(request: Request) -> Response:
    """Redirect to the report, as `result` does."""
    return await run_in_threadpool(_lead_to, request, "report")


async def show_track(request: Request) -> Response:
    """Where a face is seen: `[second, x1, y1, x2, y2]` of each look, in pixels of the frame."""
    shown = await run_in_threadpool(_shown, request)
    found = next(
        (item for item in shown.report.faces.tracks if item.id == request.path_params["track"]), None
    )
    if found is None:
        raise HTTPException(404, "There is no such face in the report.")
    faces = shown.report.faces
    detections = [[round(shown.seconds(look.pts), 3), *look.box] for look in found.looks]
    return JSONResponse({"width": faces.width, "height": faces.height, "detections": detections})


async def decide(request: Request, fields: dict[str, str]) -> Response:
    """Ask for the video once more, with what the form says differently from the report."""
    RERENDER_LIMIT.enforce(request)
    shown = await run_in_threadpool(_shown, request)
    if fields.get("of") != shown.version:
        raise HTTPException(
            409, "This video was rendered again meanwhile, or that was asked for. Load the page again."
        )
    decisions = changes(fields, shown.report.faces.tracks, shown.pending)
    if not decisions:
        raise HTTPException(422, "No decision was changed, so there is nothing to render again.")
    await run_in_threadpool(rerender_request.request_rerender, shown.job, decisions)
    return RedirectResponse(channel_url(shown.channel, "jobs"), 303)


def changes(
    fields: Mapping[str, str], tracks: Sequence[Track], pending: Mapping[int, Decision]
) -> dict[int, Decision]:
    """The decisions of a form that are neither the report's nor asked for already."""
    wished = {item.id: fields.get(f"{FIELD}{item.id}") for item in tracks}
    return {
        item.id: cast(Decision, wished[item.id])
        for item in tracks
        if wished[item.id] in ("keep", "hide") and wished[item.id] != pending.get(item.id, item.decision)
    }


def rows_of(shown: Shown) -> list[Row]:
    """All faces: what is asked for already first, then those that were hard to decide about, the kept, the hidden."""
    faces = shown.report.faces
    last = max((shown.seconds(item.end) for item in faces.tracks), default=0.0)
    length = max(shown.manifest.video.duration_seconds or 0.0, last, 0.001)
    rows = []
    for item in faces.tracks:
        start, end = max(0.0, shown.seconds(item.start)), shown.seconds(item.end)
        x = min(WIDTH - 4, round(WIDTH * start / length))
        width = max(4, min(WIDTH - x, round(WIDTH * (end - start) / length)))
        who = item.person if item.decision == "keep" and item.person else "Unnamed face"
        rows.append(
            Row(
                item.id,
                item.decision,
                shown.pending.get(item.id, item.decision),
                who,
                item.reason,
                resemblance(item.distance, item.strangers_per_10000),
                is_unsure(item, faces.match_threshold),
                start,
                end,
                x,
                width,
            )
        )
    order = ("unsure", "kept", "hidden")
    return sorted(
        rows, key=lambda row: (row.requested == row.decision, order.index(row.kind), row.start, row.id)
    )


def is_unsure(item: Track, match_threshold: float) -> bool:
    """Whether little was missing for the other decision, and no person has decided it.

    Or whether the distance alone would have decided otherwise: kept as the same person as another track, hidden
    because another face in the same frame was as near.
    """
    if item.reason == "decided by hand":
        return False
    if item.margin is None:
        return False
    inside = item.margin if item.decision == "keep" else -item.margin
    return inside < UNSURE * match_threshold


def _page(request: Request, channel: str, view: JobStatus, manifest: Manifest) -> Response:
    shown = _of(channel, view.job, manifest)
    rows = rows_of(shown)
    return render_page(
        request,
        "review.html",
        channel=channel,
        tab="jobs",
        job=view.job,
        name=manifest.source.name.removeprefix(object_names.videos_prefix(channel)),
        report=shown.report,
        warnings=[f"{item.message} {ADVICE.get(item.code, '')}" for item in shown.report.faces.warnings],
        version=shown.version,
        requested=len(shown.pending),
        has_source=shown.has_source,
        rows=rows[:MAX_ROWS],
        left_out=max(0, len(rows) - MAX_ROWS),
        left_out_kept=sum(row.decision == "keep" for row in rows[MAX_ROWS:]),
        track_count=len(rows),
        counts={kind: sum(row.kind == kind for row in rows) for kind in ("unsure", "kept", "hidden")},
        width=WIDTH,
    )


def _shown(request: Request) -> Shown:
    channel, job = require_job(request)
    view = read_status(job, None)
    if not view.is_published or view.manifest is None:
        raise HTTPException(409, "This job is not published.")
    return _of(channel, job, view.manifest)


def _of(channel: str, job: str, manifest: Manifest) -> Shown:
    """Raises PermanentError if what is published under that name is not of this upload any more."""
    blob = objects.find(settings().output_bucket, manifest.report)
    if blob is None:
        raise PermanentError("result-gone", "The result was deleted. Drop the video again.")
    if blob.size > MAX_REPORT_BYTES:
        raise PermanentError(
            "report-too-large",
            f"This video has more faces than a page can show. Its result and its report are published; the "
            f"report lists the faces by number, and python -m defacer.commands {job} --hide NUMBER decides about one.",
        )
    report = objects.read_json(objects.reference(blob), Report)
    if report.source != manifest.source:
        raise PermanentError("result-changed", "A newer upload of this name took this result's place.")
    has_source = _exists(manifest.source)
    return Shown(channel, job, manifest, report, has_source, rerender_request.pending(manifest.source))


def _exists(ref: ObjectRef) -> bool:
    return objects.find(ref.bucket, ref.name, ref.generation) is not None


def _lead_to(request: Request, which: str) -> Response:
    _, job = require_job(request)
    view = read_status(job, None)
    if view.manifest is None or not view.is_published:
        raise HTTPException(404, "There is nothing to show yet.")
    manifest = view.manifest
    save = "save" in request.query_params
    if which == "source":
        ref: ObjectRef | None = manifest.source
        file_name = manifest.source.name.rpartition("/")[2]
    elif which == "result":
        ref, file_name = _published(manifest, manifest.result), object_names.download_name(manifest.result)
    else:
        ref = _published(manifest, manifest.report)
        file_name = object_names.download_name(manifest.result, ".report.json")
    if ref is None or not _exists(ref):
        raise HTTPException(404, f"The {which} is not there any more.")
    # A browser plays nothing that is not said to be a video; whoever uploaded it may have said something else.
    guessed = mimetypes.guess_type(ref.name)[0] or ""
    video = guessed if guessed.startswith("video/") else "video/mp4"
    kind = objects.JSON if which == "report" else video
    return RedirectResponse(signed_urls.sign_read_url(ref, file_name, kind, save=save), 303)


def _published(manifest: Manifest, name: str) -> ObjectRef | None:
    """The object of this name in the output bucket, if it belongs to the manifest's upload."""
    blob = objects.find(settings().output_bucket, name)
    # Another upload's must not be taken for this one's, beside the wrong source.
    if blob is None or (blob.metadata or {}).get(object_names.OF_SOURCE_GENERATION) != str(
        manifest.source.generation
    ):
        return None
    return objects.reference(blob)
