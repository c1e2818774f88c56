"""Upload a sample video with its target picture, so that a first visitor sees a result without a video of their own."""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from defacer.pipeline import log
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.web.common.channel_access import require_access
from defacer.web.console.rendering import channel_url

CHANNEL, VIDEO = "sample", "sample.mp4"
TIMEOUT_SECONDS = 120
_one_at_a_time = asyncio.Lock()


async def upload_sample(request: Request, _: dict[str, str]) -> Response:
    """Generate the sample unless the channel has it, upload it, and redirect to its job."""
    require_access(request, CHANNEL)
    module = settings().console_sample
    if module is None:
        raise HTTPException(404, "This console has no sample. Upload a video of yours.")
    async with _one_at_a_time:
        await run_in_threadpool(_upload_once, module)
    return RedirectResponse(channel_url(CHANNEL, "jobs"), 303)


def _upload_once(module: str) -> None:
    bucket, name = settings().intake_bucket, object_names.videos_prefix(CHANNEL) + VIDEO
    if objects.find_blob(bucket, name) is not None:
        return
    if objects.list_all(bucket, object_names.channel_prefix(CHANNEL)):
        raise HTTPException(
            409, f"There is a channel of yours with the name {CHANNEL}. Upload a video of yours."
        )
    with tempfile.TemporaryDirectory() as folder:
        command = (sys.executable, "-m", module, folder)
        try:
            subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=True)
        except subprocess.SubprocessError as error:
            log.warning("the sample can't be generated", error)
            raise HTTPException(
                500, "The sample can't be generated here. Upload a video of yours."
            ) from error
        video = Path(folder, VIDEO)
        for picture in sorted(
            set(Path(folder).iterdir()) - {video}
        ):  # first, so that the job keeps this person
            target = f"{object_names.targets_prefix(CHANNEL)}{picture.stem}/{picture.name}"
            _store(bucket, target, picture, "image/png")
        _store(bucket, name, video, "video/mp4")


def _store(bucket: str, name: str, file: Path, content_type: str) -> None:
    """Store a file. A browser that asked at the same time can have stored it."""
    try:
        objects.write_once(bucket, name, file, content_type)
    except objects.AlreadyWrittenError:
        return
