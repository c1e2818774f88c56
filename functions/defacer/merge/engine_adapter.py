"""The engine of merge: link the detections, join the segments, and translate the engine's errors. No torch here."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

from defacer.engine.errors import CheckError, EngineError, OutputError, VideoError
from defacer.engine.media import joiner as engine_join
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.segment_writer import WrittenSegment
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.tracking import linking as engine_link
from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.segment_messages import SegmentReport
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.media_engine import JoinedVideo, JoinInput, LinkedFaces, LinkInput, MediaEngine
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.plurals import pluralize


class MergeEngine(MediaEngine):
    """`MediaEngine.link`, `MediaEngine.join` and `MediaEngine.check_result`, which need no models."""

    def link(self, job: LinkInput) -> LinkedFaces:
        """Link segment by segment, so that only compact tracks are in memory together."""
        manifest = job.manifest
        gallery = Gallery.from_bytes(job.gallery) if job.gallery else None
        options = Options(**manifest.policy.for_engine())
        frames = [0] * len(manifest.segments)
        try:
            faces = engine_link.link_faces(_read_detections(job, frames), gallery, options, job.renew_lease)
        except EngineError as error:
            name = object_names.owner_name(manifest.source.name)
            raise PermanentError(error.code, f"{name}: {error}") from error
        faces = replace(faces, segments=tuple(frames))
        return LinkedFaces(faces.frames, faces.sampled_frames, len(faces.tracks), faces.to_bytes())

    def join(self, job: JoinInput) -> JoinedVideo:
        """Copy the packets of all segments."""
        segments = [_segment_file(report) for report in job.reports]
        manifest = job.manifest
        with open_ranged(manifest.source, size=manifest.source_size) as source, _pipeline_errors(manifest):
            joined = engine_join.join(
                ClockedSource(source, manifest.video.clock),
                segments,
                job.samples,
                job.renew_lease,
                past_damage=manifest.policy.on_decode_error == "hide",
                sound=manifest.policy.sound,
            )
        return JoinedVideo(
            joined.head,
            joined.frames,
            joined.audio_packets,
            joined.fingerprint,
            joined.changes,
            details=joined,
        )

    def check_result(self, job: JoinInput, result: ObjectRef, joined: JoinedVideo) -> None:
        """Compare every packet of the stored result with the joined packets."""
        with open_ranged(result, ErrorCode.OBJECT_GONE) as file, _pipeline_errors(job.manifest):
            engine_join.check_result(file, cast(engine_join.JoinResult, joined.details), job.renew_lease)


def _read_detections(job: LinkInput, frames: list[int]) -> Iterator[SegmentDetections]:
    """Yield the detections segment by segment, and add the frames of each segment to `frames`.

    Raises PermanentError if the video has more detections than allowed, because linking needs memory for each.
    """
    allowed, count = settings().max_detections, 0
    for segment, data in job.detections:
        detections = SegmentDetections.from_bytes(data)
        frames[segment] += detections.frames
        count += sum(len(frame.faces) for frame in detections.samples)
        if count > allowed:
            raise PermanentError(
                ErrorCode.TOO_MANY_FACES,
                f"{object_names.owner_name(job.manifest.source.name)} shows too many faces: {count} detections in the "
                f"first {segment + 1} of {pluralize(len(job.manifest.segments), 'segment')}, at most {allowed} are "
                "allowed. Cut it into parts.",
            )
        yield detections


def _segment_file(report: SegmentReport) -> engine_join.SegmentFile:
    written = WrittenSegment(report.frames, report.reorder_depth, first_fitted=report.first_fitted)
    return engine_join.SegmentFile(lambda: open_ranged(report.video, ErrorCode.OBJECT_GONE), written)


@contextmanager
def _pipeline_errors(manifest: Manifest) -> Iterator[None]:
    try:
        yield
    except OutputError as error:
        raise RetryableError(str(error)) from error
    except (CheckError, VideoError) as error:
        name = object_names.owner_name(manifest.source.name)
        raise PermanentError(error.code, f"{name}: {error}") from error
