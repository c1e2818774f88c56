"""Render the review of a published job, and redirect to its source, its result and its report.

Users of the console see sources, because it has no access rights of its own. If the source was deleted, only the result
is shown.
"""

import mimetypes

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.lifecycle.job_status import JobStatus, read_job_status
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.web.console import signed_urls
from defacer.web.console.jobs import require_job
from defacer.web.console.rendering import HERE, render_console_page
from defacer.web.console.review.published_review import find_report, is_stored, read_published_report

# The page requests them at once. Otherwise each import is one more round trip before the cards.
SCRIPTS = (
    "api.js",
    "local_times.js",
    *sorted(f"review/{path.name}" for path in HERE.glob("static/review/*.js")),
)


async def show_job(request: Request) -> Response:
    """Render the review of a published or waiting job, or the status of any other job."""
    channel, job = await run_in_threadpool(require_job, request)
    status = await run_in_threadpool(read_job_status, job, None)
    if status.is_waiting_for_review and status.manifest is not None:
        return await run_in_threadpool(_render_page, request, channel, status, status.manifest)
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


def _render_review(request: Request, channel: str, status: JobStatus, manifest: Manifest) -> Response:
    """Return the page without its report, which the scripts request: a large one takes a second to read."""
    report = find_report(status.job, manifest)
    response = _render_page(request, channel, status, manifest)
    response.background = BackgroundTask(read_published_report, report)
    return response


def _render_page(request: Request, channel: str, status: JobStatus, manifest: Manifest) -> Response:
    return render_console_page(
        request,
        "review.html",
        channel=channel,
        tab="jobs",
        job=status.job,
        name=manifest.source.name.removeprefix(object_names.videos_prefix(channel)),
        has_source=is_stored(manifest.source),
        review_end=status.review_end,
        timeout_outcome=manifest.policy.timeout_outcome,
        scripts=SCRIPTS,
    )


def _redirect_to_media(request: Request, kind: str) -> Response:
    _, job = require_job(request)
    status = read_job_status(job, None)
    has_media = status.has_result or (kind == "source" and status.is_waiting_for_review)
    if status.manifest is None or not has_media:
        raise HTTPException(
            404, f"This job is not published, so it has no {kind} here. Open it again when it is."
        )
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
    if ref is None or not is_stored(ref):
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
