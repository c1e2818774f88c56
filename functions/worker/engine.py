"""Where the worker's steps meet the engine: what goes in, what comes out, and what its errors mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from functions.engine import cuda
from functions.engine import hide as engine_hide
from functions.engine.deface import Engine
from functions.engine.errors import EngineError, OutputError, WeightsError
from functions.engine.faces import Faces
from functions.engine.gallery import Gallery
from functions.engine.options import Options
from functions.engine.video import Segment
from functions.engine.write import Written
from functions.pipeline import layout, store
from functions.pipeline.contracts import Manifest
from functions.pipeline.errors import PermanentError, RetryableError
from functions.pipeline.ranged import open_ranged
from functions.pipeline.settings import settings
from functions.worker.attempt import Assignment


@cache
def engine() -> Engine:
    """This process's engine, models loaded: made by the first segment, kept for the next ones."""
    return Engine()


def warm_up() -> None:
    """Load the models that most jobs need.

    Raises PermanentError if they can't be had, or if the settings ask for a GPU and PyTorch can't use one.
    """
    try:
        if settings().require_gpu:
            cuda.require_gpu()
        engine().warm_up(Options())
    except EngineError as error:
        raise PermanentError(error.code, str(error)) from error


def look(todo: Assignment) -> bytes:
    """Have the engine find the faces of one segment. Raises PermanentError for a video that can't be used."""
    manifest = todo.manifest
    gallery = Gallery.from_bytes(store.read(manifest.gallery)) if manifest.gallery else None
    with _opened(todo) as segment:
        findings = engine().find(segment, gallery, _options(manifest), lambda _: todo.keep_claim())
    return findings.to_bytes()


def conceal(todo: Assignment, faces: bytes, out: Path) -> Written:
    """Have the engine hide the faces of one segment. Raises PermanentError for what can't be used."""
    manifest = todo.manifest
    replacement = store.read(manifest.replacement) if manifest.replacement else None
    with _opened(todo) as segment:
        known = Faces.from_bytes(faces, segment.start, segment.end)
        return engine_hide.hide(
            segment, known, str(out), _options(manifest), replacement, lambda _: todo.keep_claim()
        )


def _options(manifest: Manifest) -> Options:
    return Options(**manifest.policy.for_engine())


@contextmanager
def _opened(todo: Assignment) -> Iterator[Segment]:
    ref = todo.manifest.source
    with open_ranged(ref) as source:
        try:
            yield Segment(source, todo.segment.start, todo.segment.end)
        except (OutputError, WeightsError) as error:
            raise RetryableError(str(error)) from error
        except EngineError as error:
            raise PermanentError(error.code, f"{layout.owner_name(ref.name)}: {error}") from error
