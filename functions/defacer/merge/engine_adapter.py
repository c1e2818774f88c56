"""Where merge meets the engine: what goes in, what comes out, and what its errors mean. Imports no torch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

from defacer.engine.errors import CheckError, EngineError, OutputError, VideoError
from defacer.engine.media import joiner as engine_join
from defacer.engine.media.segment_writer import Written
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.tracking import linking as engine_link
from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.merge.join_step import Joined, JoinInput
from defacer.merge.link_step import Found, Linked
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.segment_messages import SegmentReport
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.plurals import pluralize


def link_faces(found: Found) -> Linked:
    """Have the engine link what was found. Raises PermanentError for findings that do not fit together."""
    manifest = found.manifest
    gallery = Gallery.from_bytes(found.gallery) if found.gallery else None
    options = Options(**manifest.policy.for_engine())
    frames = [0] * len(manifest.segments)
    try:
        faces = engine_link.link(_counted(found, frames), gallery, options, found.keep_claim)
    except EngineError as error:
        ref = manifest.source
        raise PermanentError(error.code, f"{object_names.owner_name(ref.name)}: {error}") from error
    faces = replace(faces, segments=tuple(frames))
    return Linked(faces.frames, faces.looks, len(faces.tracks), faces.to_bytes())


def _counted(found: Found, frames: list[int]) -> Iterator[SegmentDetections]:
    """The findings, segment by segment; the frames of each are added to `frames`.

    Raises PermanentError for more looks at faces than memory may have to hold.
    """
    allowed, looks = settings().max_face_looks, 0
    for index, data in found.findings:
        findings = SegmentDetections.from_bytes(data)
        frames[index] += findings.frames
        looks += sum(len(sighting.faces) for sighting in findings.sightings)
        if looks > allowed:
            ref = found.manifest.source
            raise PermanentError(
                "too-many-faces",
                f"{object_names.owner_name(ref.name)} shows too many faces: {looks} detections in the "
                f"first {index + 1} of "
                f"{pluralize(len(found.manifest.segments), 'segment')}, at most {allowed} are allowed. "
                "Cut it into parts.",
            )
        yield findings


def join(parts: JoinInput) -> engine_join.Joined:
    """Have the engine join the segments. Raises PermanentError if anything does not add up."""
    segments = [_segment(report) for report in parts.reports]
    with open_ranged(parts.manifest.source) as source, _as_pipeline_errors(parts.manifest):
        return engine_join.join(source, segments, parts.samples, parts.keep_claim)


def check(manifest: Manifest, result: ObjectRef, joined: Joined, keep_claim: Callable[[], None]) -> None:
    """Have the engine read what was joined once more. Raises PermanentError if it is not what it should be."""
    with open_ranged(result, "object-gone") as file, _as_pipeline_errors(manifest):
        engine_join.check(file, cast(engine_join.Joined, joined), keep_claim)


def _segment(report: SegmentReport) -> engine_join.SegmentFile:
    written = Written(report.frames, report.reorder_depth)
    return engine_join.SegmentFile(lambda: open_ranged(report.video, "object-gone"), written)


@contextmanager
def _as_pipeline_errors(manifest: Manifest) -> Iterator[None]:
    ref = manifest.source
    try:
        yield
    except OutputError as error:
        raise RetryableError(str(error)) from error
    except (CheckError, VideoError) as error:
        raise PermanentError(error.code, f"{object_names.owner_name(ref.name)}: {error}") from error
