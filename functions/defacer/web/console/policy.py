"""The policy of a channel as a form. Saving it writes the `policy.json` that ingest reads."""

import json
from typing import Any

from google.cloud.storage import Blob
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from defacer.engine_host import HOST
from defacer.picture_formats import content_type_of
from defacer.pipeline.channel import describe_problems, find_replacement, read_policy
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import MAX_CONFIRM_HOURS, MAX_MATCH_THRESHOLDS, Policy
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import read_limited_body
from defacer.web.console import engine_adapter, signed_urls
from defacer.web.console.channels import require_channel
from defacer.web.console.engine_adapter import LevelRates
from defacer.web.console.rendering import channel_url, render_console_page

PREVIEW_LIMIT, PICTURE_LIMIT = RateLimiter(60), RateLimiter(20)  # the page previews each change
MAX_VIDEOS = 200
MAX_SHARE = 1000  # a preview's position is a number of thousandths of the video
MAX_DIGITS = 18
# The title and the meaning of each value.
MODES = {
    "blur": ("Blur", "The face becomes a few colors that flow into each other."),
    "pixelate": ("Pixelate", "The face becomes four or five squares across."),
    "solid": ("One color", "The face becomes an area of one color."),
    "image": ("A picture", "A picture of yours covers the face, over a blur."),
}
LEVELS = {
    "strict": ("Strict", "Hides more faces. Choose it if no stranger is allowed to stay visible."),
    "balanced": ("Balanced", "Recommended."),
    "lenient": ("Lenient", "Keeps more faces. Choose it if targets are hidden too often."),
}
RECOGNIZERS = {
    "sface": ("SFace", "Recommended: faster, and it confuses fewer people."),
    "facenet-casia": ("FaceNet, CASIA-WebFace", "It confuses more people."),
    "facenet-vggface2": ("FaceNet, VGGFace2", "Downloaded from its authors. Not measured."),
}
OWN = "own"  # the form's recognition level for a match threshold of the user's own
VERIFY_LEVELS = {
    "standard": (
        "Five frames a second",
        "A second detector searches the finished video. A face that it finds is hidden, or nothing is published.",
    ),
    "strict": ("Every frame", "The same for every frame. It takes longer."),
    "off": ("No check", "The video is published as it was rendered."),
}
QUALITIES = {
    "0": "Lossless: very large files",
    "14": "Finer than most cameras: large files",
    "18": "Looks the same as the source",
    "23": "Slightly softer: about half the size",
    "28": "Visibly softer: small files",
}


async def show_policy(request: Request) -> Response:
    """Render the form with the stored policy."""
    return await run_in_threadpool(_render_form, request, require_channel(request), None, None)


async def save(request: Request, fields: dict[str, str]) -> Response:
    """Store the policy if it is valid and if it did not change since the page was rendered."""
    channel = require_channel(request)
    try:
        policy = parse_policy_form(fields)
    except PermanentError as error:
        return await run_in_threadpool(_render_form, request, channel, fields, str(error))
    data = policy.model_dump_json(indent=2, exclude_none=True).encode()
    try:
        await run_in_threadpool(
            lambda: objects.replace(
                settings().intake_bucket,
                object_names.policy(channel),
                data,
                generation=_parse_number(fields.get("generation", "")),
            )
        )
    except objects.AlreadyWrittenError:
        message = "Not saved: another user changed the policy. Save again to replace it with the one below."
        return await run_in_threadpool(_render_form, request, channel, fields, message)
    return RedirectResponse(channel_url(channel, "policy") + "?saved=yes", 303)


async def replace_picture(request: Request, _: dict[str, str]) -> Response:
    """Store the picture in the body as the one that covers faces in mode `image`."""
    channel = require_channel(request)
    PICTURE_LIMIT.enforce(request)
    data = await read_limited_body(request, settings().max_picture_bytes)
    await HOST.pictures.run(lambda: _store_replacement(channel, data))
    return JSONResponse({})


async def show_preview(request: Request, fields: dict[str, str]) -> Response:
    """Return a JPEG: a frame of the channel's video with all faces redacted by the form's policy."""
    channel = require_channel(request)
    PREVIEW_LIMIT.enforce(request)
    policy = parse_policy_form(fields)
    share = min(MAX_SHARE, _parse_number(fields.get("share", ""))) / MAX_SHARE
    path = fields.get("video", "")
    source, replacement = await run_in_threadpool(_read_preview_inputs, channel, path, policy)
    frame = await HOST.pictures.run(lambda: engine_adapter.render_preview(source, share, policy, replacement))
    return Response(frame.picture, media_type="image/jpeg", headers={"x-faces": str(frame.faces)})


def _parse_number(text: str) -> int:
    """Return the number in a form's field, or 0 for anything else. A generation has 16 digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else 0


def parse_policy_form(fields: dict[str, str]) -> Policy:
    """Return the form's policy. Raise PermanentError that lists the invalid fields with their allowed values."""
    document: dict[str, Any] = {name: fields[name] for name in Policy.model_fields if name in fields}
    document.pop("match_threshold", None)
    if document.get("recognition") == OWN:
        del document["recognition"]
        document["match_threshold"] = fields.get("own_threshold", "")
    try:
        return Policy.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise PermanentError(ErrorCode.BAD_POLICY, f"Not saved: {describe_problems(error)}.") from error


def _render_form(
    request: Request, channel: str, fields: dict[str, str] | None, problem: str | None
) -> Response:
    bucket = settings().intake_bucket
    blob = objects.find_blob(bucket, object_names.policy(channel))
    policy = Policy()
    try:
        policy = read_policy(bucket, channel)
        if fields is not None:
            policy = parse_policy_form(fields)
    except PermanentError as error:
        stored_problem = (
            f"The stored policy is not valid, so all videos of this channel fail: {error} Save a new one."
        )
        problem = problem or stored_problem
    picture = objects.find_blob(bucket, object_names.replacement(channel))
    return render_console_page(
        request,
        "policy.html",
        422 if fields is not None else 200,
        channel=channel,
        tab="policy",
        policy=policy,
        recognition=policy.recognition or OWN,
        largest=MAX_MATCH_THRESHOLDS,
        max_confirm_hours=MAX_CONFIRM_HOURS,
        generation=int(blob.generation) if blob else 0,
        problem=problem,
        saved=problem is None and "saved" in request.query_params,
        picture=signed_urls.sign_read_url(objects.reference(picture)) if picture else None,
        videos=_list_videos(channel),
        modes=MODES,
        levels=_describe_levels(policy.recognizer),
        recognizers=RECOGNIZERS,
        qualities=QUALITIES,
        checks=VERIFY_LEVELS,
    )


def _describe_levels(recognizer: str) -> dict[str, tuple[str, str]]:
    """Return each level's title, and its meaning with the rates measured for the recognizer."""
    rates = engine_adapter.measured_rates(recognizer)
    return {
        name: (title, f"{meaning} {_describe_rates(recognizer, rates[name])}")
        for name, (title, meaning) in LEVELS.items()
    }


def _describe_rates(recognizer: str, rates: LevelRates) -> str:
    name = RECOGNIZERS[recognizer][0]
    if rates.strangers is None:
        return f"It was not measured for {name}."
    strangers = f"{rates.strangers or 'fewer than 1'} in 10,000 strangers"
    return f"With {name} it keeps {strangers} and {rates.targets_percent} % of the appearances of targets."


def _list_videos(channel: str) -> list[str]:
    """Return the channel's videos for a preview, newest first."""
    prefix = object_names.videos_prefix(channel)
    blobs = [blob for blob in objects.list_blobs(settings().intake_bucket, prefix) if _is_video(blob)]
    blobs.sort(key=lambda blob: blob.updated, reverse=True)
    return [blob.name.removeprefix(prefix) for blob in blobs[:MAX_VIDEOS]]


def _is_video(blob: Blob) -> bool:
    return object_names.parse_video(blob.name) is not None and bool(blob.size)


def _read_preview_inputs(channel: str, path: str, policy: Policy) -> tuple[ObjectRef, bytes | None]:
    bucket = settings().intake_bucket
    blob = objects.find_blob(bucket, object_names.videos_prefix(channel) + path) if path else None
    if blob is None:
        raise HTTPException(404, "This video was deleted. Choose another one.")
    replacement = None
    if policy.mode == "image":
        replacement = objects.read(find_replacement(bucket, channel))
    return objects.reference(blob), replacement


def _store_replacement(channel: str, data: bytes) -> None:
    engine_adapter.require_replacement(data)
    bucket, name = settings().intake_bucket, object_names.replacement(channel)
    stored = objects.find_blob(bucket, name)
    content_type = content_type_of(data) or ""  # the check accepted the picture
    generation = int(stored.generation) if stored else 0
    objects.replace(bucket, name, data, content_type, generation=generation)
