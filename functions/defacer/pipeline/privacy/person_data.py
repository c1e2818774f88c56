"""Find the data of a person of a channel in the three buckets. `forget.py` deletes it."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from google.cloud.storage import Blob

from defacer.pipeline import awaiting_review
from defacer.pipeline.documents.base import Document, ObjectRef
from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import job_state, rerender_request, verdict
from defacer.pipeline.lifecycle.ownership import read_faces_document
from defacer.pipeline.privacy.job_lookup import all_jobs
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import is_same_name
from defacer.report.json_lines import load_track, split_report
from defacer.report.tracks import Reason, TrackRecord


@dataclass(frozen=True)
class VisibleIn:
    """A published video that shows the person. `obstacle` is the reason why it can't be re-rendered.

    `ref` is its report, which names the person. Without the report, the result is not found.
    """

    report: JobReport
    ref: ObjectRef
    obstacle: str | None

    @property
    def result(self) -> str:
        return f"gs://{self.ref.bucket}/{self.report.result}"


@dataclass(frozen=True)
class PersonData:
    """The data of a person in a channel.

    - `pictures`: all versions of the target pictures
    - `running_jobs`: jobs that will keep the person
    - `orphaned_objects`: segments of ended jobs, and re-render requests and older versions of reports that name the
      person
    - `documents_naming_person`: documents that stay, each with its text without the name
    - `visible_in`: published results that show the person
    - `old_versions`: versions of these results in a versioned bucket, each job's report last
    - `results_without_report`: results without a readable report
    - `unreadable_jobs`: jobs of any channel with an unreadable object in the work bucket, such as the manifest
    """

    pictures: tuple[ObjectRef, ...] = ()
    running_jobs: tuple[str, ...] = ()
    orphaned_objects: tuple[ObjectRef, ...] = ()
    documents_naming_person: tuple[tuple[ObjectRef, bytes], ...] = ()
    visible_in: tuple[VisibleIn, ...] = ()
    old_versions: tuple[ObjectRef, ...] = ()
    results_without_report: tuple[str, ...] = ()
    unreadable_jobs: tuple[str, ...] = ()


def find_person_data(channel: str, person: str) -> PersonData:
    """Return the data of a person in the three buckets."""
    requests = (*_requests_naming(channel, person), *_confirmations_naming(channel, person))
    work, published = _of_jobs(channel, person), _published(channel, person)
    return replace(
        published,
        pictures=pictures(channel, person),
        running_jobs=work.running_jobs,
        orphaned_objects=(*requests, *work.orphaned_objects, *published.orphaned_objects),
        documents_naming_person=(*work.documents_naming_person, *published.documents_naming_person),
        unreadable_jobs=work.unreadable_jobs,
    )


def pictures(channel: str, person: str) -> tuple[ObjectRef, ...]:
    """Return all versions of all objects in the person's folder of target pictures."""
    blobs = objects.list_versions(settings().intake_bucket, object_names.targets_prefix(channel))
    return tuple(objects.reference(blob) for blob in blobs if object_names.is_of_person(blob.name, person))


def _requests_naming(channel: str, person: str) -> Iterator[ObjectRef]:
    """Yield the re-render requests that name the person. A changed request would start another job."""
    for blob in objects.list_versions(settings().intake_bucket, object_names.rerender_prefix(channel)):
        ref = objects.reference(blob)
        with suppress(PermanentError):
            edits = rerender_request.parse_request(objects.read(ref), ref).edits
            if _any_is(edits.names, person):
                yield ref


def _confirmations_naming(channel: str, person: str) -> Iterator[ObjectRef]:
    """Yield the confirmations that name the person."""
    for blob in objects.list_versions(settings().intake_bucket, object_names.confirmations_prefix(channel)):
        ref = objects.reference(blob)
        confirmation = awaiting_review.read_confirmation(ref)
        if confirmation and _any_is(confirmation.edits.names, person):
            yield ref


def _of_jobs(channel: str, person: str) -> PersonData:
    """Return the person's data in the work bucket. Jobs with unreadable documents are listed and skipped."""
    running: list[str] = []
    orphaned: list[ObjectRef] = []
    documents: list[tuple[ObjectRef, bytes]] = []
    unreadable: list[str] = []
    for job in all_jobs():
        try:
            found = _of_job(job, channel, person)
        except PermanentError:
            unreadable.append(job)
            continue
        running += found.running_jobs
        orphaned += found.orphaned_objects
        documents += found.documents_naming_person
    return PersonData(
        running_jobs=tuple(running),
        orphaned_objects=tuple(orphaned),
        documents_naming_person=tuple(documents),
        unreadable_jobs=tuple(unreadable),
    )


def _of_job(job: str, channel: str, person: str) -> PersonData:
    """Return the person's data of one job. Without a manifest, its failure names the channel.

    Raises PermanentError if its manifest or its failure can't be read.
    """
    found = job_state.find_manifest(job)
    if found is not None and found.document.channel != channel:
        return PersonData()
    there = {ref.name: ref for ref in objects.list_all(settings().work_bucket, object_names.job_prefix(job))}
    is_published, has_failed = object_names.published(job) in there, object_names.failed(job) in there
    named = [] if is_published else list(_failures_naming(job, channel, person))
    orphaned: list[ObjectRef] = []
    if found is not None and _any_is(
        (*found.document.named_people, *_confirmed_people(found.document)), person
    ):
        if not is_published and not has_failed:
            return PersonData(running_jobs=(job,), documents_naming_person=_dump(named))
        # The policy can keep these intermediates. They name or show the person, and the manifest leads to them.
        made = (object_names.faces(job), object_names.segments_prefix(job))
        orphaned += [ref for name, ref in there.items() if name.startswith(made)]
        named.append((found.ref, _manifest_without(found.document, person)))
    return PersonData(orphaned_objects=tuple(orphaned), documents_naming_person=_dump(named))


def _confirmed_people(manifest: Manifest) -> Iterator[str]:
    """Yield the people in the faces of a job that a person confirms: they can have got their names after its plan."""
    stored = job_state.find_stored_faces(manifest.job) if manifest.policy.confirm != "never" else None
    if stored is not None:
        document, _ = read_faces_document(manifest.job, stored.ref)
        yield from (track.person for track in map(load_track, split_report(document)[1]) if track.person)


def _dump(documents: Iterable[tuple[ObjectRef, Document]]) -> tuple[tuple[ObjectRef, bytes], ...]:
    return tuple((ref, document.model_dump_json(indent=2).encode()) for ref, document in documents)


def _failures_naming(job: str, channel: str, person: str) -> Iterator[tuple[ObjectRef, Document]]:
    """Yield the failure documents that name a picture of the person, each with its text without the name.

    The verdict is first, because `failed.json` is written from it.
    """
    found = verdict.find_verdict(job)
    if found is not None and found.document.failed is not None:
        failed = found.document.failed
        if _names(failed, channel, person):
            yield found.ref, found.document.model_copy(update={"failed": _failed_without(failed)})
    recorded = objects.find_json(settings().work_bucket, object_names.failed(job), Failed)
    if recorded is not None and _names(recorded.document, channel, person):
        yield recorded.ref, _failed_without(recorded.document)


def _names(failed: Failed, channel: str, person: str) -> bool:
    is_of_channel = failed.source is None or object_names.channel_of_input(failed.source.name) == channel
    return is_of_channel and object_names.mentions_target(failed.message, person)


def _failed_without(failed: Failed) -> Failed:
    source = object_names.owner_name(failed.source.name) if failed.source else "A video"
    message = f"{source} was not published: a target picture, deleted since, could not be used. Upload the video again."
    return failed.model_copy(update={"message": message})


def _manifest_without(manifest: Manifest, person: str) -> Manifest:
    """Return a manifest without the person, whose intermediates are not kept: a late worker can show the person."""
    targets = tuple(target for target in manifest.targets if not is_same_name(target, person))
    policy = manifest.policy.model_copy(update={"keep_intermediates": False})
    rerender = manifest.rerender
    if rerender is not None:
        edits = rerender.edits.without_names(lambda name: is_same_name(name, person))
        rerender = rerender.model_copy(update={"edits": edits})
    return manifest.model_copy(update={"targets": targets, "policy": policy, "rerender": rerender})


def _published(channel: str, person: str) -> PersonData:
    """Return the person's data in the output bucket."""
    blobs = objects.list_versions(settings().output_bucket, object_names.channel_prefix(channel))
    ours = [blob for blob in blobs if object_names.OF_JOB in (blob.metadata or {})]
    visible_in, documents, orphaned, reported, formerly_visible = [], [], [], set(), set()
    for blob in ours:
        report = _report(blob)
        if report is None:
            continue
        ref, is_live = objects.reference(blob), blob.time_deleted is None
        if is_live:
            reported |= {blob.name, report.result}
        if _keeps(report, person):
            if is_live:
                visible_in.append(VisibleIn(report, ref, _obstacle(report)))
            else:
                formerly_visible.add(report.job)
        elif _any_is((*report.targets, *(track.person or "" for track in report.tracks)), person):
            if is_live:
                documents.append((ref, remove_person(report, person).to_bytes()))
            else:
                orphaned.append(ref)
    old = [
        blob for blob in ours if blob.time_deleted and blob.metadata[object_names.OF_JOB] in formerly_visible
    ]
    old.sort(key=_is_report)
    output = settings().output_bucket
    unreported = sorted({blob.name for blob in ours if blob.time_deleted is None} - reported)
    return PersonData(
        visible_in=tuple(visible_in),
        documents_naming_person=tuple(documents),
        orphaned_objects=tuple(orphaned),
        old_versions=tuple(map(objects.reference, old)),
        results_without_report=tuple(f"gs://{output}/{name}" for name in unreported),
    )


def remove_person(report: JobReport, person: str) -> JobReport:
    """Return the report with the person's tracks hidden and without the name."""
    tracks = tuple(
        _hide(track) if track.person and is_same_name(track.person, person) else track
        for track in report.tracks
    )
    targets = tuple(target for target in report.targets if not is_same_name(target, person))
    warnings = tuple(item for item in report.faces.warnings if not is_same_name(item.person, person))
    faces = replace(report.faces, warnings=warnings)
    return report.model_copy(update={"faces": faces, "tracks": tracks, "targets": targets})


def _hide(track: TrackRecord) -> TrackRecord:
    """Return a track that is hidden because consent was withdrawn. Nothing in it refers to the person."""
    return replace(
        track,
        decision="hide",
        reason=Reason.CONSENT_WITHDRAWN,
        person=None,
        distance=None,
        margin=None,
        strangers_per_10000=None,
        rival=None,
    )


def replacement_of(report: JobReport) -> ObjectRef | None:
    """Return the replacement picture of the channel of this report."""
    video = object_names.parse_video(report.source.name)
    if video is None:
        return None
    blob = objects.find_blob(report.source.bucket, object_names.replacement(video.channel))
    return objects.reference(blob) if blob is not None else None


def _report(blob: Blob) -> JobReport | None:
    """Return the report in this object; None for a video, and for a report that is unreadable or was replaced."""
    if not _is_report(blob):
        return None
    try:
        return objects.read_report(objects.reference(blob))
    except PermanentError:
        return None


def _is_report(blob: Blob) -> bool:
    video = object_names.parse_video(str(blob.metadata.get(object_names.OF_SOURCE, "")))
    return video is not None and blob.name == video.report


def _keeps(report: JobReport, person: str) -> bool:
    tracks = report.tracks
    return _any_is((track.person or "" for track in tracks if track.decision == "keep"), person)


def _any_is(names: Iterable[str], person: str) -> bool:
    return any(is_same_name(name, person) for name in names)


def _obstacle(report: JobReport) -> str | None:
    source = report.source
    if objects.find_blob(source.bucket, source.name, source.generation) is None:
        return "its source was deleted"
    if report.policy.mode == "image" and replacement_of(report) is None:
        return "the replacement picture was deleted"
    return None
