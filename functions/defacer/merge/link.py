"""Between the two steps: when the findings of all segments are there, link the faces, hand them on, forget.

Every segment that was looked through brings a message here; the one that finds all findings there claims the
link. `faces.json` is written once: that write is the commit, and after it nobody needs an embedding any more.
The claim's object goes last. So after a crash at any point it is still there, and says that the faces are not
yet handed on: the next delivery goes on from there, and no step minds being done twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from defacer.merge.in_time import stop_what_is_slow
from defacer.pipeline import jobs, layout, log, messages, store
from defacer.pipeline.claim import ClaimLostError, Hold, delivery_terms, hold
from defacer.pipeline.contracts import Manifest, ObjectRef, SegmentDone, SegmentTask
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.parts import all_made
from defacer.pipeline.settings import settings


@dataclass(frozen=True)
class Found:
    """What to link: the findings of all segments in order, each with its segment's index and read when it is asked
    for (of a segment that was split there are several), and the gallery.

    `keep_claim` must be called often; it may raise to stop.
    """

    manifest: Manifest
    gallery: bytes | None = field(repr=False)
    findings: Iterator[tuple[int, bytes]] = field(repr=False)
    keep_claim: Callable[[], None]


@dataclass(frozen=True)
class Linked:
    """What came of it: how many, and `faces.json` as it is to be stored (see `contracts.Faces`)."""

    frames: int
    looks: int
    tracks: int
    document: bytes = field(repr=False)


LinkFaces = Callable[[Found], Linked]


def link(done: SegmentDone, message_id: str, link_faces: LinkFaces) -> None:
    """Link the job if this was its last segment to look through, or if somebody died while linking it.

    Raises RetryableError if the message has to come back: somebody else is at it, or a fault that may pass.
    """
    with jobs.failing(done.job, "merge"):
        if jobs.is_over(done.job):
            jobs.clean_up(done.job)
            return
        if jobs.is_handed_on(done.job):
            return
        manifest = jobs.open_manifest(done.job, done.index, done.manifest)
        if not jobs.is_linked(done.job) and all_made(manifest, "find", done.index) is None:
            return
        with hold(settings().work_bucket, layout.link_claim(done.job), delivery_terms(message_id)) as held:
            faces = _faces(manifest, held, link_faces)
            if faces is not None:
                _hand_on(manifest, done.manifest, faces)


def _faces(manifest: Manifest, held: Hold, link_faces: LinkFaces) -> ObjectRef | None:
    """The job's faces: as they are there, or after linking. None if the job has failed meanwhile."""
    name = layout.faces(manifest.job)
    found = store.find(settings().work_bucket, name)
    if found is not None:
        return store.reference(found)
    stop_what_is_slow(manifest, held, "linking its faces")
    try:
        faces, count = _linked(manifest, held, link_faces)
    except PermanentError as error:
        if jobs.is_linked(manifest.job):
            raise ClaimLostError("another has linked, and deleted what this one was reading") from error
        raise
    if jobs.has_failed(manifest.job):
        return None
    held.keep()
    try:
        ref = store.write_once(settings().work_bucket, name, faces.document, progress=held.keep)
        # Each line "faces found" is counted off by this one (infra/observability.tf).
        log.info("linked", segments=count, frames=faces.frames, looks=faces.looks, tracks=faces.tracks)
    except store.AlreadyWrittenError as error:
        ref = error.existing
    if jobs.has_failed(manifest.job):  # its clean-up may have come before these were there
        jobs.clean_up(manifest.job)
        return None
    return ref


def _linked(manifest: Manifest, held: Hold, link_faces: LinkFaces) -> tuple[Linked, int]:
    """What came of it, and of how many findings."""
    findings = all_made(manifest, "find", 0)
    if findings is None:
        raise _gone(manifest)
    gallery = store.read(manifest.gallery) if manifest.gallery else None
    return link_faces(Found(manifest, gallery, _read(findings, held), held.keep)), len(findings)


def _read(findings: tuple[ObjectRef, ...], held: Hold) -> Iterator[tuple[int, bytes]]:
    for ref in findings:
        piece = layout.parse_piece(ref.name)
        held.keep()
        if piece is not None:
            yield piece.index, store.read(ref)


def _hand_on(manifest: Manifest, manifest_ref: ObjectRef, faces: ObjectRef) -> None:
    tasks = [
        SegmentTask(job=manifest.job, index=index, step="hide", manifest=manifest_ref, faces=faces)
        for index in range(len(manifest.segments))
    ]
    messages.publish(settings().segments_topic, messages.SEGMENT_TASK, tasks)
    jobs.forget_embeddings(manifest.job)


def _gone(manifest: Manifest) -> PermanentError:
    source = manifest.source
    return PermanentError(
        "object-gone",
        f"{layout.owner_name(source.name)} was not published: the detections of its segments were deleted. "
        "Upload the video again.",
    )
