"""Where the worker's steps meet the engine: what goes in, what comes out, and what its errors mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from defacer.engine.engine import Engine
from defacer.engine.errors import EngineError, OutputError, WeightsError
from defacer.engine.media.reader import Segment
from defacer.engine.models import gpu
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.tracking.face_report import Faces
from defacer.engine.verification import release_gate
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import SegmentCheck
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.worker.redact_step import Redacted
from defacer.worker.segment_attempt import StepInput


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
            gpu.require_gpu()
        engine().warm_up(Options())
    except EngineError as error:
        raise PermanentError(error.code, str(error)) from error


def detect_segment(todo: StepInput) -> bytes:
    """Have the engine find the faces of one segment. Raises PermanentError for a video that can't be used."""
    manifest = todo.manifest
    gallery = Gallery.from_bytes(objects.read(manifest.gallery)) if manifest.gallery else None
    with _opened(todo) as segment:
        findings = engine().find(segment, gallery, _options(manifest), lambda _: todo.keep_claim())
    return findings.to_bytes()


def redact_segment(todo: StepInput, faces: bytes, out: Path) -> Redacted:
    """Have the engine hide the faces of one segment and check the result.

    Raises PermanentError for what can't be used, and for a face that stays visible.
    """
    manifest = todo.manifest
    replacement = objects.read(manifest.replacement) if manifest.replacement else None
    with _opened(todo) as segment:
        known = Faces.from_bytes(faces, segment.start, segment.end)
        redacted = release_gate.redact_and_verify(
            segment,
            known,
            out,
            _options(manifest),
            engine().checker,
            replacement,
            lambda _: todo.keep_claim(),
        )
    written = redacted.written
    return Redacted(written.frames, written.reorder_depth, written.black_frames, _check(redacted.checked))


def _check(checked: release_gate.Checked | None) -> SegmentCheck | None:
    if checked is None:
        return None
    return SegmentCheck.model_validate(
        {
            "verify": checked.verify,
            "frames": checked.frames,
            **{f"passed_as_{reason}": count for reason, count in checked.passed.items()},
            "tracks": [
                {**track.to_json(), "id": number, "group": 0} for number, track in enumerate(checked.tracks)
            ],
        }
    )


def _options(manifest: Manifest) -> Options:
    return Options(**manifest.policy.for_engine())


@contextmanager
def _opened(todo: StepInput) -> Iterator[Segment]:
    ref = todo.manifest.source
    with open_ranged(ref) as source:
        try:
            yield Segment(source, todo.segment.start, todo.segment.end)
        except (OutputError, WeightsError) as error:
            raise RetryableError(str(error)) from error
        except EngineError as error:
            raise PermanentError(error.code, f"{object_names.owner_name(ref.name)}: {error}") from error
