"""The review's use of the engine: pictures of faces, target pictures, edits, and searches of the source."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from defacer.engine.corrections.span_search import TimeSpan
from defacer.engine.errors import EngineError, PictureError, VideoError
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.models.arrays import Array, Detector, Image
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import TargetFace
from defacer.engine.recognition.picture_quality import picture_warnings
from defacer.engine.recognition.target_face import locate_face
from defacer.engine.rendering.contact_sheet import cut_faces, render_contact_sheet
from defacer.engine.rendering.preview import TARGET_JPEG_QUALITY, encode_jpeg
from defacer.engine.tracking.identity import limits_of
from defacer.engine.tracking.report_edit import with_edits
from defacer.engine_host import HOST, read_pictures
from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.report.compact_boxes import BoxAt
from defacer.report.edits import AddedTrack, Edits
from defacer.report.face_views import FaceView
from defacer.report.faces import Faces
from defacer.report.tracks import Reason

Found = TypeVar("Found")
MARGIN = 0.4  # around the face in a saved picture, as a share of its box
REFUSED_WARNINGS = {
    "blurred-picture": "is not sharp",
    "overexposed-picture": "is overexposed",
    "small-picture": "is small",
}
NEAREST = 3  # the distance to several views is the mean of the nearest ones


def require_valid_edits(report: JobReport, edits: Edits, people: Collection[str]) -> None:
    """Raise PermanentError for edits that ingest would refuse. Only `people` can be kept by their names."""
    document = Faces.from_head(report.faces, report.tracks).to_bytes()
    try:
        edited = with_edits(document, edits, people)
    except EngineError as error:
        raise PermanentError(ErrorCode.BAD_DECISIONS, f"The changes don't fit this video: {error}") from error
    if edited.unconsented_tracks:
        tracks = ", ".join(map(str, edited.unconsented_tracks))
        withdrawn = {track.id for track in report.tracks if track.reason == Reason.CONSENT_WITHDRAWN}
        if withdrawn.intersection(edited.unconsented_tracks):
            raise PermanentError(
                ErrorCode.BAD_DECISIONS,
                f"The changes keep people who withdrew their consent (tracks {tracks}). Hide these tracks.",
            )
        raise PermanentError(
            ErrorCode.BAD_DECISIONS,
            f"The video keeps people who have no target picture (tracks {tracks}). Hide these tracks, or add a "
            "picture on the page People.",
        )


def render_faces(manifest: Manifest, rows: Sequence[Sequence[FaceView]]) -> bytes:
    """Return a JPEG of these faces, row by row. Raise PermanentError if the video can't be decoded there."""
    with open_ranged(manifest.source) as file:
        try:
            return render_contact_sheet(ClockedSource(file, manifest.video.clock), rows)
        except VideoError as error:
            raise PermanentError(error.code, f"No pictures of faces: {error}") from error


def make_target_picture(
    manifest: Manifest, views: Sequence[FaceView], known: Sequence[TargetPicture], person: str
) -> bytes:
    """Return the first view as a JPEG that can be a target picture of the person.

    The other `views` show the same face, and `known` are pictures of the person. Raises PermanentError if the first
    view does not show one sharp face, is not clearly the same person as the others and the pictures, or can't be
    compared with any of them.
    """
    options = Options(**manifest.policy.for_engine())
    with open_ranged(manifest.source) as file:
        try:
            wanted, *others = cut_faces(ClockedSource(file, manifest.video.clock), views, MARGIN)
            target = _require_sharp_face(wanted, person)
            faces = [target, *_find_usable(others, person)]
            gallery = HOST.engine.gallery(read_pictures(known), options.recognizer, HOST.lock, faces)
        except (VideoError, PictureError) as error:
            raise PermanentError(error.code, f"The picture can't be saved: {error}") from error
    if others and len(faces) == 1 and not known:
        raise PermanentError(
            ErrorCode.BAD_TARGET,
            "The picture can't be saved: no other face of this card is clear enough to compare it. Split the track "
            "off, or add a picture on the page People.",
        )
    pictures, own, rest = np.split(gallery.embeddings, [len(known), len(known) + 1])
    sure = limits_of(options).sure
    if len(rest) and _distance(own, rest) > sure:
        raise _unlike("the other faces of this card. Split the tracks of other people off first")
    if len(pictures) and _distance(own, pictures) > sure:
        raise _unlike(f"the pictures of {person}. Choose another face, or another name")
    return encode_jpeg(wanted, TARGET_JPEG_QUALITY)


@dataclass(frozen=True)
class SourceSpan:
    """A time span of a job's source, first and last time included, and the report about it."""

    manifest: Manifest
    report: JobReport
    start: int
    end: int


def follow_boxes(span: SourceSpan, anchors: Sequence[BoxAt], progress: Callable[[int], None]) -> AddedTrack:
    """Return a mask that follows the face in the anchors' boxes. Raise PermanentError if that fails."""
    return _search(span, lambda inner: HOST.engine.follow_box(inner, anchors, progress))


def search_faces(span: SourceSpan, progress: Callable[[int], None]) -> list[AddedTrack]:
    """Return hidden tracks of faces that the report does not have. Raise PermanentError if that fails."""
    return _search(span, lambda inner: HOST.engine.look_again(inner, progress))


def _search(span: SourceSpan, search: Callable[[TimeSpan], Found]) -> Found:
    faces = Faces.from_head(span.report.faces, span.report.tracks)
    past_damage = span.manifest.policy.on_decode_error == "hide"
    with open_ranged(span.manifest.source) as file:
        source = ClockedSource(file, span.report.clock)
        try:
            return search(TimeSpan(source, faces, span.start, span.end, past_damage))
        except EngineError as error:
            raise PermanentError(error.code, f"The search failed: {error}") from error


def _require_sharp_face(image: Image, person: str) -> TargetFace:
    with HOST.lock:
        found = locate_face(image, "it", _load_detector)
    for warning in picture_warnings(found.image, found.face, person):
        if warning.code in REFUSED_WARNINGS:
            problem = REFUSED_WARNINGS[warning.code]
            raise PermanentError(
                ErrorCode.BAD_TARGET, f"The picture can't be saved: its face {problem}. Choose another one."
            )
    return TargetFace(person, "the picture", found.image, found.face)


def _find_usable(images: Sequence[Image], person: str) -> list[TargetFace]:
    """Return the images that show one face. The others can't be compared."""
    found = []
    for image in images:
        try:
            with HOST.lock:
                view = locate_face(image, "it", _load_detector)
            found.append(TargetFace(person, "a view", view.image, view.face))
        except PictureError:
            continue
    return found


def _distance(own: Array, others: Array) -> float:
    """Return the mean distance to the nearest others."""
    return float(np.sort(np.linalg.norm(others - own, axis=1))[:NEAREST].mean())


def _unlike(others: str) -> PermanentError:
    return PermanentError(
        ErrorCode.BAD_TARGET, f"The picture can't be saved: it does not look enough like {others}."
    )


def _load_detector(name: str) -> Detector:
    return HOST.engine.detector(name)
