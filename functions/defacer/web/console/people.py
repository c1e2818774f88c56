"""People: who stays visible in a channel's videos, by pictures that are checked as they come."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from defacer.engine.media.still_image import PNG
from defacer.pipeline.channel import list_targets
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import VideoName
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import limited_body
from defacer.web.console import engine_adapter, signed_urls
from defacer.web.console.channels import channel_of
from defacer.web.console.engine_adapter import Answer
from defacer.web.console.rendering import page

A_MINUTE = RateLimiter(60)
MAX_KEPT_ANSWERS = 2000
LONGEST_NAME = 100


@dataclass(frozen=True)
class Shown:
    """A picture on the page. `said` is what it was told when it was checked before."""

    ref: ObjectRef
    said: Answer | None


class _Answers:
    """What the engine said of a version of a picture: it stays true."""

    def __init__(self) -> None:
        self._kept: OrderedDict[ObjectRef, Answer] = OrderedDict()
        self._lock = Lock()

    def get(self, ref: ObjectRef) -> Answer | None:
        with self._lock:
            return self._kept.get(ref)

    def keep(self, ref: ObjectRef, answer: Answer) -> None:
        with self._lock:
            self._kept[ref] = answer
            while len(self._kept) > MAX_KEPT_ANSWERS:
                self._kept.popitem(last=False)


_answers = _Answers()


async def show(request: Request) -> Response:
    """Everybody, with their pictures."""
    channel = channel_of(request)
    people = await run_in_threadpool(_people, channel)
    most = settings().max_picture_bytes
    return page(request, "people.html", channel=channel, tab="people", people=people, most=most)


async def add(request: Request, _: dict[str, str]) -> Response:
    """Check a picture, the request's body; keep it if it can be used, as one of the person that `person` names."""
    channel = channel_of(request)
    A_MINUTE.require(request)
    person = _require_name(channel, request.query_params.get("person", ""))
    data = await limited_body(request, settings().max_picture_bytes)
    answer = await engine_adapter.ROOM.do(lambda: engine_adapter.look_at(data))
    if answer.good:
        await run_in_threadpool(_keep, channel, person, data, answer)
    return _told(answer)


async def picture(request: Request) -> Response:
    """To where a picture can be read, for a while."""
    channel, name = channel_of(request), request.query_params.get("name", "")
    return RedirectResponse(await run_in_threadpool(_address, channel, name), 303)


async def check(request: Request, fields: dict[str, str]) -> Response:
    """Check a picture that is there already: it may have come another way."""
    A_MINUTE.require(request)
    ref = await run_in_threadpool(_require_picture, channel_of(request), fields.get("picture", ""))
    answer = _answers.get(ref)
    if answer is None:
        data = await run_in_threadpool(objects.read, ref)
        answer = await engine_adapter.ROOM.do(lambda: engine_adapter.look_at(data))
        _answers.keep(ref, answer)
    return _told(answer)


async def rename(request: Request, fields: dict[str, str]) -> Response:
    """Give a person another name: each picture moves to the folder of that name."""
    channel = channel_of(request)
    name = _require_name(channel, fields.get("name", ""))
    moved = await run_in_threadpool(_rename, channel, fields.get("person", ""), name)
    return JSONResponse({"moved": moved})


async def remove(request: Request, fields: dict[str, str]) -> Response:
    """Remove one picture, or all of a person."""
    removed = await run_in_threadpool(
        _remove, channel_of(request), fields.get("person", ""), fields.get("picture", "")
    )
    return JSONResponse({"removed": removed})


def _people(channel: str) -> dict[str, list[Shown]]:
    found: dict[str, list[Shown]] = {}
    for picture in list_targets(settings().intake_bucket, channel):
        shown = Shown(picture.ref, _answers.get(picture.ref))
        found.setdefault(picture.person, []).append(shown)
    return dict(sorted(found.items()))


def _require_name(channel: str, name: str) -> str:
    """Raises 422 unless a folder of targets can be called this."""
    name = name.strip()
    wrong = VideoName(channel, name).problem if name else "it is empty"
    if "/" in name:
        wrong = "it has a slash"
    if len(name) > LONGEST_NAME:
        wrong = f"it is longer than {LONGEST_NAME} characters"
    if wrong:
        raise HTTPException(422, f"Nobody can be called that here: {wrong}.")
    return name


def _keep(channel: str, person: str, data: bytes, answer: Answer) -> None:
    """Named after its content: the same picture again is the same object, and no name of a file is taken over."""
    is_png = data.startswith(PNG)
    suffix, kind = ("png", "image/png") if is_png else ("jpg", "image/jpeg")
    name = f"{object_names.targets_prefix(channel)}{person}/{hashlib.sha256(data).hexdigest()[:16]}.{suffix}"
    _answers.keep(objects.write_once(settings().intake_bucket, name, data, kind), answer)


def _require_picture(channel: str, name: str) -> ObjectRef:
    for picture in list_targets(settings().intake_bucket, channel):
        if picture.ref.name == name:
            return picture.ref
    raise HTTPException(404, "This picture is not there any more. Load the page again.")


def _address(channel: str, name: str) -> str:
    """Without listing: a page asks for each of its pictures."""
    is_of_channel = (
        name.startswith(object_names.targets_prefix(channel)) and object_names.parse_target(name) is not None
    )
    blob = objects.find(settings().intake_bucket, name) if is_of_channel else None
    if blob is None:
        raise HTTPException(404, "This picture is not there any more.")
    return signed_urls.readable(objects.reference(blob))


def _of(channel: str, person: str) -> list[ObjectRef]:
    pictures = list_targets(settings().intake_bucket, channel)
    found = [picture.ref for picture in pictures if picture.person == person]
    if not found:
        raise HTTPException(404, "Nobody of that name is there any more. Load the page again.")
    return found


def _rename(channel: str, person: str, name: str) -> int:
    """First all copies, then all deletes: whoever plans a job meanwhile sees the pictures under either name."""
    if person == name:
        return 0
    prefix = f"{object_names.targets_prefix(channel)}{name}/"
    pictures = _of(channel, person)
    for ref in pictures:
        name = ref.name.rpartition("/")[2]
        try:
            objects.copy(ref, ref.bucket, prefix + name, generation=0, metadata={})
        except objects.AlreadyWrittenError:  # another picture has that name: both stay
            objects.copy(ref, ref.bucket, f"{prefix}{ref.generation}-{name}", generation=0, metadata={})
    for ref in pictures:
        objects.delete(ref)
    return len(pictures)


def _remove(channel: str, person: str, picture: str) -> int:
    pictures = [_require_picture(channel, picture)] if picture else _of(channel, person)
    for ref in pictures:
        objects.delete(ref)
    return len(pictures)


def _told(answer: Answer) -> Response:
    return JSONResponse({"good": answer.good, "sentence": answer.sentence, "doubtful": answer.doubtful})
