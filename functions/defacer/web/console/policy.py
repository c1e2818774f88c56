"""Policy: how a channel's videos are done, in words; what is saved is the `policy.json` that ingest reads."""

import json
from typing import Any

from google.cloud.storage import Blob
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from defacer.engine.errors import PictureError
from defacer.engine.media.still_image import PNG, decode_picture
from defacer.engine.recognition.recognition_levels import Level, calibration_of, strangers_at
from defacer.pipeline.channel import find_replacement, policy_problems, read_policy
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import MAX_MATCH_THRESHOLDS, Policy
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import limited_body
from defacer.web.console import engine_adapter, signed_urls
from defacer.web.console.channels import channel_of
from defacer.web.console.rendering import at, page

PREVIEWS_A_MINUTE, PICTURES_A_MINUTE = RateLimiter(30), RateLimiter(20)
MAX_VIDEOS = 200
# What each setting is called, and what it means to whoever is seen.
MODES = {
    "blur": ("Blur", "The face becomes a few colours that flow into each other."),
    "pixelate": ("Pixelate", "The face becomes four or five blocks across, as on television."),
    "solid": ("One colour", "The face becomes an even spot."),
    "image": ("A picture", "The face is covered by a picture of yours, over a blur."),
}
LEVELS = {
    "strict": ("Strict", "Hides more. Choose it where a stranger must never stay."),
    "balanced": ("Balanced", "Recommended."),
    "lenient": ("Lenient", "Keeps more. Choose it where a person you named is hidden too often."),
}
RECOGNIZERS = {
    "sface": ("SFace", "Recommended: it confuses fewer people and needs less time."),
    "facenet-casia": ("FaceNet, CASIA-WebFace", "It confuses more people."),
    "facenet-vggface2": ("FaceNet, VGGFace2", "Downloaded from its authors. Not measured."),
}
OWN = "own"
CHECKS = {
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
    "23": "A little softer, about half the size",
    "28": "Visibly softer, small files",
}


async def show(request: Request) -> Response:
    """The policy as it is, as a form."""
    return await run_in_threadpool(_page, request, channel_of(request), None, None)


async def save(request: Request, fields: dict[str, str]) -> Response:
    """Write the policy, if it is one, and if nobody else wrote it since the page was shown."""
    channel = channel_of(request)
    try:
        policy = policy_of(fields)
    except PermanentError as error:
        return await run_in_threadpool(_page, request, channel, fields, str(error))
    data = policy.model_dump_json(indent=2, exclude_none=True).encode()
    try:
        await run_in_threadpool(
            lambda: objects.replace(
                settings().intake_bucket,
                object_names.policy(channel),
                data,
                generation=_number(fields.get("generation", "")),
            )
        )
    except objects.AlreadyWrittenError:
        sentence = "Somebody else changed the policy meanwhile. Below is yours: saving replaces theirs."
        return await run_in_threadpool(_page, request, channel, fields, sentence)
    return RedirectResponse(at(channel, "policy") + "?saved=yes", 303)


async def replace_picture(request: Request, _: dict[str, str]) -> Response:
    """The picture that covers faces in mode `image`: the request's body."""
    channel = channel_of(request)
    PICTURES_A_MINUTE.require(request)
    data = await limited_body(request, settings().max_picture_bytes)
    await engine_adapter.ROOM.do(lambda: _replace_picture(channel, data))
    return JSONResponse({})


async def preview(request: Request, fields: dict[str, str]) -> Response:
    """A frame of one of the channel's videos with all faces hidden as the form says: a JPEG."""
    channel = channel_of(request)
    PREVIEWS_A_MINUTE.require(request)
    policy = policy_of(fields)
    share = min(1000, _number(fields.get("share", ""))) / 1000
    source, replacement = await run_in_threadpool(_material, channel, fields.get("video", ""), policy)
    made = await engine_adapter.ROOM.do(lambda: engine_adapter.preview_of(source, share, policy, replacement))
    return Response(made.picture, media_type="image/jpeg", headers={"x-faces": str(made.faces)})


def _number(text: str) -> int:
    """Return the number that a form's field holds; 0 for anything else. A generation has 16 digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def policy_of(fields: dict[str, str]) -> Policy:
    """The policy that a form holds. Raises PermanentError that names each field with what is allowed."""
    document: dict[str, Any] = {name: fields[name] for name in Policy.model_fields if name in fields}
    document.pop("match_threshold", None)
    if document.get("recognition") == OWN:
        del document["recognition"]
        document["match_threshold"] = fields.get("own_distance", "")
    try:
        return Policy.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise PermanentError("bad-policy", f"Not saved: {policy_problems(error)}.") from error


def _page(request: Request, channel: str, fields: dict[str, str] | None, problem: str | None) -> Response:
    bucket = settings().intake_bucket
    blob = objects.find(bucket, object_names.policy(channel))
    policy = Policy()
    try:
        policy = read_policy(bucket, channel)
        if fields is not None:
            policy = policy_of(fields)
    except PermanentError as error:
        problem = (
            problem or f"The policy that is there can't be used, and no video can be done with it: {error}"
        )
    picture = objects.find(bucket, object_names.replacement(channel))
    return page(
        request,
        "policy.html",
        422 if fields is not None else 200,
        channel=channel,
        tab="policy",
        policy=policy,
        recognition=policy.recognition or OWN,
        largest=MAX_MATCH_THRESHOLDS,
        generation=int(blob.generation) if blob else 0,
        problem=problem,
        saved=problem is None and "saved" in request.query_params,
        picture=signed_urls.readable(objects.reference(picture)) if picture else None,
        videos=_videos(channel),
        modes=MODES,
        levels=_levels(policy.recognizer),
        recognizers=RECOGNIZERS,
        qualities=QUALITIES,
        checks=CHECKS,
    )


def _levels(recognizer: str) -> dict[str, tuple[str, str]]:
    """Return each level's title, and its meaning with the rates measured for the recogniser."""
    known = calibration_of(recognizer)
    return {
        name: (title, f"{words} {_rates(recognizer, known.levels[name])}")
        for name, (title, words) in LEVELS.items()
    }


def _rates(recognizer: str, level: Level) -> str:
    name, strangers = RECOGNIZERS[recognizer][0], strangers_at(recognizer, level.match)
    if strangers is None:
        return f"It was not measured for {name}."
    number = strangers or "fewer than 1"
    rates = f"{number} in 10,000 strangers and {level.kept} % of the appearances of people you named"
    return f"With {name} it keeps {rates}."


def _videos(channel: str) -> list[str]:
    """The newest first; they are what a preview can be made of."""
    blobs = [
        blob
        for blob in objects.list_blobs(settings().intake_bucket, object_names.videos_prefix(channel))
        if _is_video(blob)
    ]
    blobs.sort(key=lambda blob: blob.updated, reverse=True)
    return [blob.name.removeprefix(object_names.videos_prefix(channel)) for blob in blobs[:MAX_VIDEOS]]


def _is_video(blob: Blob) -> bool:
    return object_names.parse_video(blob.name) is not None and bool(blob.size)


def _material(channel: str, path: str, policy: Policy) -> tuple[ObjectRef, bytes | None]:
    bucket = settings().intake_bucket
    blob = objects.find(bucket, object_names.videos_prefix(channel) + path) if path else None
    if blob is None:
        raise HTTPException(404, "This video is not there any more. Choose another one.")
    replacement = None
    if policy.mode == "image":
        replacement = objects.read(find_replacement(bucket, channel))
    return objects.reference(blob), replacement


def _replace_picture(channel: str, data: bytes) -> None:
    try:
        decode_picture(data, engine_adapter.THIS, alpha=True, max_pixels=settings().max_picture_pixels)
    except PictureError as error:
        raise PermanentError(error.code, str(error)) from error
    bucket, name = settings().intake_bucket, object_names.replacement(channel)
    there = objects.find(bucket, name)
    kind = "image/png" if data.startswith(PNG) else "image/jpeg"
    objects.replace(bucket, name, data, kind, generation=int(there.generation) if there else 0)
