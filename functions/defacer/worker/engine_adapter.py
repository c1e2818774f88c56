"""The engine of the worker: detect and redact one segment, and translate the engine's errors."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from defacer.engine.errors import EngineError, OutputError, WeightsError
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.reader import Segment
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.runtime import gpu
from defacer.engine.tracking.face_report import read_faces_between
from defacer.engine.verification import release_gate
from defacer.engine_host import HOST
from defacer.pipeline import log
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import SegmentCheck
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.media_engine import MediaEngine, RedactedSegment, StepInput
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.ranged_reader import open_ranged


def preload_models() -> None:
    """Load the models that most jobs need.

    Raises PermanentError if they can't be loaded, or if the settings require a GPU that PyTorch can't use.
    """
    try:
        if settings().require_gpu:
            gpu.require_gpu()
        HOST.engine.preload_models(Options())
    except EngineError as error:
        raise PermanentError(error.code, str(error)) from error


def log_hardware() -> None:
    """Log what the networks, the decoders and the encoders of this worker run on."""
    log.info("worker ready", gpu=gpu.describe(), decoders="CPU, no NVDEC", encoders="CPU, no NVENC")


def require_computing_gpu() -> None:
    """End this process and raise RetryableError if its GPU no longer computes.

    gunicorn then starts a new process, which loads the models again. If that fails, the container ends, and Cloud Run
    replaces the instance.
    """
    if not gpu.is_computing():
        log.error("the GPU failed, the process ends")
        os.kill(os.getpid(), signal.SIGTERM)  # gunicorn finishes the requests that are running
        raise RetryableError("the GPU of this worker failed")


class WorkerEngine(MediaEngine):
    """`MediaEngine.detect` and `MediaEngine.redact` with the models of this process."""

    def detect(self, step: StepInput) -> bytes:
        """Return the segment detections, embeddings included."""
        manifest = step.manifest
        gallery = Gallery.from_bytes(objects.read(manifest.gallery)) if manifest.gallery else None
        with _open_segment(step) as segment:
            detections = HOST.engine.detect_segment(
                segment, gallery, _options_of(manifest), lambda _: step.renew_lease()
            )
        return detections.to_bytes()

    def redact(self, step: StepInput, faces: bytes, out: Path) -> RedactedSegment:
        """Redact the segment and search the encoded segment for faces that are still visible."""
        manifest = step.manifest
        replacement = objects.read(manifest.replacement) if manifest.replacement else None
        with _open_segment(step) as segment:
            verified = release_gate.redact_and_verify(
                segment,
                read_faces_between(faces, segment.start, segment.end),
                out,
                _options_of(manifest),
                HOST.engine.checker,
                replacement,
                lambda _: step.renew_lease(),
            )
        written = verified.written
        return RedactedSegment(
            written.frames,
            written.reorder_depth,
            written.black_frames,
            written.first_fitted,
            _to_document(verified.checked),
            len(written.copied),
        )


def _to_document(checked: release_gate.Checked | None) -> SegmentCheck | None:
    if checked is None:
        return None
    return SegmentCheck.model_validate(
        {
            "verify": checked.verify,
            "frames": checked.frames,
            **{f"passed_as_{reason}": count for reason, count in checked.passed.items()},
            "tracks": tuple(
                replace(track, id=number, group=0) for number, track in enumerate(checked.tracks)
            ),
        }
    )


def _options_of(manifest: Manifest) -> Options:
    return Options(**manifest.policy.for_engine())


@contextmanager
def _open_segment(step: StepInput) -> Iterator[Segment]:
    ref = step.manifest.source
    with open_ranged(ref, size=step.manifest.source_size) as source:
        try:
            yield Segment(
                ClockedSource(source, step.manifest.video.clock), step.segment.start, step.segment.end
            )
        except (OutputError, WeightsError) as error:
            raise RetryableError(str(error)) from error
        except EngineError as error:
            raise PermanentError(error.code, f"{object_names.owner_name(ref.name)}: {error}") from error
