"""Erase a video and forget a person on the page, with everything that the commands do.

The work runs in the request itself, because Cloud Run gives a service processor time only during requests. The answer
is a stream of lines of JSON: `{"line": ...}` while it works, then `{"end": ..., "done": ...}`. An interrupted request
can be repeated.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from defacer.engine_host import RerenderEngine
from defacer.pipeline import log
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.privacy import erase
from defacer.pipeline.privacy.forget_person import ForgetRequest, describe_person_data, forget_person
from defacer.pipeline.privacy.person_data import find_person_data
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.console.channels import require_channel
from defacer.web.console.jobs import require_job

PRIVACY_LIMIT = RateLimiter(20)
AGAIN = "Cloud Storage is not available at the moment. Run this again: it continues where it stopped."
FAILED = "This failed unexpectedly. The console's log has the details. Run it again: it continues where it stopped."
MAX_SECONDS = 300  # of video that a request renders again on Google Cloud, where it ends after 15 minutes
_one_at_a_time = asyncio.Lock()  # a re-render needs all processors
_running: set["asyncio.Task[None]"] = set()  # asyncio itself holds tasks only weakly

Say = Callable[[str], None]
# Does the work, calls its argument with each line, and returns the last line and whether nothing is left.
Work = Callable[[Say], tuple[str, bool]]


async def describe_erasure(request: Request) -> Response:
    """Return how many objects of a job would be erased, as JSON."""
    PRIVACY_LIMIT.enforce(request)
    _channel, job = await run_in_threadpool(require_job, request)
    found = await run_in_threadpool(lambda: erase.find_objects(erase.Subject(job=job)))
    return JSONResponse({"found": found.count()})


async def erase_job(request: Request, _: dict[str, str]) -> Response:
    """Erase a job: its source, its result, its report and its work, in every version."""
    PRIVACY_LIMIT.enforce(request)
    _channel, job = await run_in_threadpool(require_job, request)

    def work(say: Say) -> tuple[str, bool]:
        erase.erase(erase.Subject(job=job), lambda ref: say(f"removed {ref}"), say)
        return "Erased. Copies that people saved elsewhere stay.", True

    return _stream(work)


async def describe_person(request: Request, fields: dict[str, str]) -> Response:
    """Return what is stored of a person, as JSON. Names are in no URL, because services log URLs."""
    PRIVACY_LIMIT.enforce(request)
    forgetting = _parse_forget_request(request, fields)
    data = await run_in_threadpool(find_person_data, forgetting.channel, forgetting.person)
    shown = [
        {"video": object_names.owner_name(each.report.source.name), "obstacle": each.obstacle}
        for each in data.visible_in
    ]
    return JSONResponse({"found": describe_person_data(data, forgetting), "shown": shown})


async def forget(request: Request, fields: dict[str, str]) -> Response:
    """Forget a person, with the choices of the form."""
    PRIVACY_LIMIT.enforce(request)
    forgetting = _parse_forget_request(request, fields)
    if forgetting.rerender and settings().console_signer is not None:
        await run_in_threadpool(_require_short_videos, forgetting)

    def work(say: Say) -> tuple[str, bool]:
        outcome = forget_person(forgetting, lambda _kind, _value, line: say(line), say, RerenderEngine())
        return outcome.summary, outcome.is_forgotten

    return _stream(work)


def _parse_forget_request(request: Request, fields: dict[str, str]) -> ForgetRequest:
    if not (person := fields.get("person", "")):
        raise HTTPException(422, "Name the person. Load the page again.")
    return ForgetRequest(person, require_channel(request), "rerender" in fields, "delete" in fields)


def _require_short_videos(forgetting: ForgetRequest) -> None:
    """Raise 422 if rendering the videos that show the person takes longer than a request on Google Cloud."""
    shown = find_person_data(forgetting.channel, forgetting.person).visible_in
    heads = [each.report.faces for each in shown if each.obstacle is None]
    seconds = sum(float(((head.end or 0) - (head.start or 0)) * Fraction(head.time_base)) for head in heads)
    if seconds > MAX_SECONDS:
        raise HTTPException(
            422,
            f"{round(seconds / 60)} minutes of video show this person. A page can render at most {MAX_SECONDS // 60} "
            "again. Clear that choice to do the rest here, then run defacer person forget NAME --rerender.",
        )


def _stream(work: Work) -> Response:
    return StreamingResponse(_run(work), media_type="application/jsonl")


async def _run(work: Work) -> AsyncIterator[str]:
    """Run the work in a thread, and yield its lines. If the viewer leaves, the thread continues."""
    loop, lines = asyncio.get_running_loop(), asyncio.Queue[str | None]()

    def put(line: str | None) -> None:
        loop.call_soon_threadsafe(lines.put_nowait, line)

    async def run_alone() -> None:
        async with _one_at_a_time:
            put(await asyncio.to_thread(_run_to_end, work, lambda line: put(_encode(line=line))))
            put(None)

    _running.add(task := asyncio.create_task(run_alone()))
    task.add_done_callback(_running.discard)
    while (line := await lines.get()) is not None:
        yield line


def _run_to_end(work: Work, say: Say) -> str:
    """Return the last line of the stream. It has begun, so no error handler can answer."""
    try:
        end, done = work(say)
    except PermanentError as error:
        return _encode(end=str(error), done=False)
    except RetryableError as error:
        log.warning("storage failed while the console erased", error)
        return _encode(end=AGAIN, done=False)
    except Exception as error:  # noqa: BLE001
        log.error("an unexpected error while the console erased", error)
        return _encode(end=FAILED, done=False)
    return _encode(end=end, done=done)


def _encode(**fields: Any) -> str:
    return json.dumps(fields) + "\n"
