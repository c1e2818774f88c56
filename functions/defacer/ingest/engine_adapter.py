"""The engine of ingest: headers, pictures and edits. It imports the models' back end when it embeds a target."""

from collections.abc import Collection, Sequence
from dataclasses import fields

from defacer.engine.errors import EngineError, PictureError, VideoError
from defacer.engine.media.pictures.still_image import decode_picture
from defacer.engine.media.probe import probe
from defacer.engine.media.reader import open_video
from defacer.engine.options import Options
from defacer.engine.tracking import report_edit
from defacer.engine_host import HOST, read_pictures
from defacer.ingest import job_limits
from defacer.pipeline import log
from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.media_engine import EditedFaces, MediaEngine, TargetGallery, VideoHeader
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.report.edits import Edits


class IngestEngine(MediaEngine):
    """The operations of `MediaEngine` that plan a job."""

    def probe(self, source: ObjectRef, policy: Policy) -> VideoHeader:
        """Read the header in ranged requests, and log the codes of all changes."""
        with open_ranged(source) as file:
            try:
                with open_video(file) as (_, picture):  # before a frame is decoded
                    job_limits.require_frame_size(source, picture.width, picture.height)
                found = probe(file, Options(**policy.for_engine()))
            except VideoError as error:
                name = object_names.owner_name(source.name)
                raise PermanentError(error.code, f"{name}: {error}") from error
        log.info(
            "probed",
            container=found.container,
            codec=found.info.codec,
            changes=sorted({change.code for change in found.changes}),
        )
        return VideoHeader(**{item.name: getattr(found.info, item.name) for item in fields(VideoHeader)})

    def embed_targets(self, pictures: Sequence[TargetPicture], recognizer: str) -> TargetGallery:
        """Embed all pictures with the engine of this process."""
        gallery = HOST.build_gallery(read_pictures(pictures), recognizer)
        if gallery.warnings:
            codes = [warning.code for warning in gallery.warnings]
            log.warning("target pictures are likely to be recognized badly", warnings=codes)
        # The gallery has one row per picture, so a person with several pictures is in it several times.
        return TargetGallery(tuple(dict.fromkeys(gallery.people)), gallery.to_bytes())

    def require_replacement(self, picture: ObjectRef) -> None:
        """Decode the picture."""
        data, label = objects.read(picture), object_names.owner_name(picture.name)
        try:
            decode_picture(data, label, alpha=True, max_pixels=settings().max_picture_pixels)
        except PictureError as error:
            raise PermanentError(
                ErrorCode.BAD_REPLACEMENT, f"{error} Upload the picture that shall cover faces."
            ) from error

    def edit_faces(self, faces: bytes, edits: Edits, people: Collection[str]) -> EditedFaces:
        """Edit the document line by line, so that a long video's tracks are never in memory together."""
        try:
            edited = report_edit.with_edits(faces, edits, people)
        except EngineError as error:
            raise PermanentError(ErrorCode.BAD_DECISIONS, str(error)) from error
        return EditedFaces(edited.document, edited.people, edited.unconsented_tracks, edited.added)
