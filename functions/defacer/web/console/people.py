"""The people who stay visible in a channel's videos, and their target pictures. Each picture is checked on upload."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from defacer.engine_host import HOST
from defacer.picture_formats import SUFFIX_OF, content_type_of
from defacer.pipeline.channel import TargetPicture, read_targets_folder
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import VideoName
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import read_limited_body
from defacer.web.console import engine_adapter, signed_urls
from defacer.web.console.channels import require_channel
from defacer.web.console.engine_adapter import PictureCheck
from defacer.web.console.rendering import render_console_page

CHECK_LIMIT = RateLimiter(60)
MAX_CACHED_CHECKS = 2000
MAX_NAME_CHARACTERS = 100
NO_PICTURE = "This picture was removed. Load the page again."


@dataclass(frozen=True)
class PictureCard:
    """A picture on the page. `check` is its cached check, if any."""

    ref: ObjectRef
    check: PictureCheck | None

    @property
    def id(self) -> str:
        """The picture's id in URLs. It names no person, because services log URLs."""
        return hashlib.sha256(f"{self.ref.name}#{self.ref.generation}".encode()).hexdigest()[:20]


class _CheckCache:
    """Checks of pictures. They stay valid, because a version of an object never changes."""

    def __init__(self) -> None:
        self._checks: OrderedDict[ObjectRef, PictureCheck] = OrderedDict()
        self._lock = Lock()

    def get(self, ref: ObjectRef) -> PictureCheck | None:
        with self._lock:
            return self._checks.get(ref)

    def put(self, ref: ObjectRef, check: PictureCheck) -> None:
        with self._lock:
            self._checks[ref] = check
            while len(self._checks) > MAX_CACHED_CHECKS:
                self._checks.popitem(last=False)


_checks = _CheckCache()


async def show_people(request: Request) -> Response:
    """Render the page with all people and their pictures."""
    channel = require_channel(request)
    folder = await run_in_threadpool(read_targets_folder, settings().intake_bucket, channel)
    misplaced = list(map(object_names.owner_name, folder.misplaced))
    people, most = _group_by_person(folder.pictures), settings().max_picture_bytes
    return render_console_page(
        request, "people.html", channel=channel, tab="people", people=people, misplaced=misplaced, most=most
    )


async def add(request: Request, _: dict[str, str]) -> Response:
    """Check the picture in the body, and store it for the person in the header `X-Person` if it is usable."""
    channel = require_channel(request)
    CHECK_LIMIT.enforce(request)
    person = require_person_name(channel, unquote(request.headers.get("x-person", "")))
    data = await read_limited_body(request, settings().max_picture_bytes)
    check = await HOST.pictures.run(lambda: engine_adapter.check_picture(data))
    if check.usable:
        shown = await HOST.pictures.run(lambda: engine_adapter.make_displayable(data))
        await run_in_threadpool(store_picture, channel, person, shown, check)
    return _check_response(check)


async def redirect_to_picture(request: Request) -> Response:
    """Redirect to a signed URL of a picture."""
    channel, picture = require_channel(request), str(request.path_params["picture"])
    return RedirectResponse(await run_in_threadpool(_sign_picture_url, channel, picture), 303)


async def check(request: Request, fields: dict[str, str]) -> Response:
    """Check a stored picture: it might not have been uploaded through the console."""
    CHECK_LIMIT.enforce(request)
    ref = await run_in_threadpool(_require_picture, require_channel(request), fields.get("picture", ""))
    result = _checks.get(ref)
    if result is None:
        data = await run_in_threadpool(objects.read, ref)
        result = await HOST.pictures.run(lambda: engine_adapter.check_picture(data))
        _checks.put(ref, result)
    return _check_response(result)


async def rename(request: Request, fields: dict[str, str]) -> Response:
    """Rename a person: move each picture to the folder of the new name."""
    channel = require_channel(request)
    name = require_person_name(channel, fields.get("name", ""))
    moved = await run_in_threadpool(_rename_person, channel, fields.get("person", ""), name)
    return JSONResponse({"moved": moved})


async def remove(request: Request, fields: dict[str, str]) -> Response:
    """Remove one picture, or all pictures of a person."""
    person, picture = fields.get("person", ""), fields.get("picture", "")
    removed = await run_in_threadpool(_remove_pictures, require_channel(request), person, picture)
    return JSONResponse({"removed": removed})


def _group_by_person(pictures: Sequence[TargetPicture]) -> dict[str, list[PictureCard]]:
    people: dict[str, list[PictureCard]] = {}
    for target in pictures:
        card = PictureCard(target.ref, _checks.get(target.ref))
        people.setdefault(target.person, []).append(card)
    return dict(sorted(people.items()))


def require_person_name(channel: str, name: str) -> str:
    """Return the name without surrounding space. Raise 422 if a folder of target pictures can't have it."""
    name = name.strip()
    problem = VideoName(channel, name).problem if name else "it is empty"
    if "/" in name:
        problem = "it has a slash"
    if len(name) > MAX_NAME_CHARACTERS:
        problem = f"it is longer than {MAX_NAME_CHARACTERS} characters"
    if problem:
        raise HTTPException(422, f"A person can't have this name: {problem}. Enter another name.")
    return name


def store_picture(channel: str, person: str, data: bytes, check: PictureCheck) -> None:
    """Store the picture under the hash of its content, so that a second upload of it creates no second object."""
    content_type = content_type_of(data) or ""  # the check accepted the picture
    folder = f"{object_names.targets_prefix(channel)}{person}/"
    name = f"{folder}{hashlib.sha256(data).hexdigest()[:16]}{SUFFIX_OF[content_type]}"
    _checks.put(objects.write_once(settings().intake_bucket, name, data, content_type), check)


def _require_picture(channel: str, name: str) -> ObjectRef:
    for picture in read_targets_folder(settings().intake_bucket, channel).pictures:
        if picture.ref.name == name:
            return picture.ref
    raise HTTPException(404, NO_PICTURE)


def _sign_picture_url(channel: str, picture: str) -> str:
    """Return a signed URL of the picture with this `PictureCard.id`."""
    for target in read_targets_folder(settings().intake_bucket, channel).pictures:
        if PictureCard(target.ref, None).id == picture:
            return signed_urls.sign_read_url(target.ref)
    raise HTTPException(404, NO_PICTURE)


def _require_pictures_of(channel: str, person: str) -> list[ObjectRef]:
    pictures = read_targets_folder(settings().intake_bucket, channel).pictures
    refs = [picture.ref for picture in pictures if picture.person == person]
    if not refs:
        raise HTTPException(404, "This person was renamed or removed. Load the page again.")
    return refs


def _rename_person(channel: str, person: str, name: str) -> int:
    """Copy all pictures before the first delete, so that a job planned in between finds the pictures."""
    if person == name:
        return 0
    folder = f"{object_names.targets_prefix(channel)}{name}/"
    pictures = _require_pictures_of(channel, person)
    for ref in pictures:
        file_name = ref.name.rpartition("/")[2]
        try:
            objects.copy(ref, ref.bucket, folder + file_name, generation=0, metadata={})
        except objects.AlreadyWrittenError:  # the new name has another picture of this file name: keep both
            unique_name = f"{folder}{ref.generation}-{file_name}"
            objects.copy(ref, ref.bucket, unique_name, generation=0, metadata={})
    for ref in pictures:
        objects.delete(ref)
    return len(pictures)


def _remove_pictures(channel: str, person: str, picture: str) -> int:
    refs = [_require_picture(channel, picture)] if picture else _require_pictures_of(channel, person)
    for ref in refs:
        objects.delete(ref)
    return len(refs)


def _check_response(check: PictureCheck) -> Response:
    return JSONResponse({"usable": check.usable, "message": check.message, "doubtful": check.doubtful})
