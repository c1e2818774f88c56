"""The engine where several services use it: one engine in a process, and re-rendering a result from its report."""

import asyncio
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from defacer.engine.errors import CheckError, EngineError, WeightsError
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.joiner import fingerprint_of
from defacer.engine.media.pictures.image_decoder import MAX_PROCESSES
from defacer.engine.media.pictures.still_image import require_decodable
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer.engine.render_file import render_video
from defacer.pipeline import log
from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.documents.report import JobReport, ResultCheck
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.media_engine import MediaEngine
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import objects
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.report.faces import Faces

if TYPE_CHECKING:
    from defacer.engine.engine import Engine

Result = TypeVar("Result")


class EngineBusyError(Exception):
    """Too many callers wait for the engine."""


class WorkQueue:
    """Runs work in threads, at most `max_running` at a time. At most `max_queued` callers run or wait."""

    def __init__(self, max_running: int, max_queued: int):
        self._slots = asyncio.Semaphore(max_running)
        self._max_queued = max_queued
        self._queued = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` in a thread when a slot is free. Raise EngineBusyError if the queue is full."""
        if self._queued >= self._max_queued:
            raise EngineBusyError
        self._queued += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(work)
        finally:
            self._queued -= 1


class EngineHost:
    """Loads the engine, and lets one caller at a time use its models.

    `pictures` runs work of a few seconds. `searches` runs searches of a video, which can take minutes, one at a time.

    The coroutines belong to one event loop. `lock` and the other methods are safe to use from any thread.
    """

    def __init__(self) -> None:
        self.lock = Lock()  # held while a model is loaded or runs; never while a picture is decoded
        self.models_loaded = False
        self.pictures = WorkQueue(max_running=MAX_PROCESSES, max_queued=8)
        self.searches = WorkQueue(max_running=1, max_queued=3)
        self._loading: asyncio.Task[None] | None = None

    @cached_property
    def engine(self) -> "Engine":
        """The engine. It is imported and created at first use, because most jobs of ingest have no targets."""
        from defacer.engine.engine import Engine

        return Engine()

    def start_loading(self) -> "asyncio.Task[None]":
        """Start to load the models, unless that is done or under way. Start again if it failed."""
        if self._loading is None or (self._loading.done() and not self.models_loaded):
            self._loading = asyncio.create_task(self._load_models())
        return self._loading

    async def wait_until_loaded(self) -> None:
        """Return when the models are loaded. Raise RetryableError if they can't be loaded."""
        await asyncio.shield(self.start_loading())

    def build_gallery(self, pictures: Sequence[Picture], recognizer: str) -> Gallery:
        """Return the gallery of these pictures. Raise PermanentError that names the first unusable picture."""
        try:
            # Pictures are decoded without the lock: a picture that is slow to decode must not stop other channels.
            for picture in pictures:
                require_decodable(picture.data, picture.label, settings().max_picture_pixels)
            with self.lock:
                engine = self.engine
            return engine.gallery(pictures, recognizer, self.lock)
        except WeightsError as error:
            raise RetryableError(str(error)) from error
        except EngineError as error:
            raise PermanentError(error.code, str(error)) from error

    async def _load_models(self) -> None:
        try:
            await asyncio.to_thread(self._warm_up)
        except EngineError as error:
            log.error("the models can't be loaded", error)
            raise RetryableError(str(error)) from error
        self.models_loaded = True

    def _warm_up(self) -> None:
        with self.lock:
            self.engine.preload_models(Options())


HOST = EngineHost()


def read_pictures(pictures: Sequence[TargetPicture]) -> list[Picture]:
    """Read these target pictures from storage."""
    return [Picture(picture.person, picture.label, objects.read(picture.ref)) for picture in pictures]


class RerenderEngine(MediaEngine):
    """`MediaEngine.rerender` on this machine."""

    def rerender(self, report: JobReport, replacement: bytes | None, out: Path) -> JobReport:
        """Write the MP4 `out`. Raises PermanentError if the source was deleted, or is not the report's."""
        name = f"gs://{report.source.bucket}/{report.source.name}"
        with open_ranged(report.source) as file:
            source = ClockedSource(file, report.clock)
            try:
                if fingerprint_of(source) != report.fingerprint:
                    raise CheckError("the report is about another video.")
                faces = Faces.from_head(report.faces, report.tracks)
                options = Options(**report.policy.for_engine())
                rendered = render_video(source, faces, options, replacement, out)
            except EngineError as error:
                raise PermanentError(error.code, f"{name}: {error}") from error
        checked = rendered.checked and ResultCheck.model_validate(rendered.checked.to_json())
        return report.model_copy(update={"tracks": rendered.faces.tracks, "checked": checked})
