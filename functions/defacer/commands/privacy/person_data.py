"""What there is of a person in a channel, in the three buckets: looked for here, dealt with in `forgetting`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from google.cloud.storage import Blob

from defacer.commands.privacy.job_lookup import all_jobs
from defacer.pipeline.documents.base import Document, ObjectRef
from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import Report
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import job_state, verdict
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import same_name
from defacer.report.tracks import Reason, Track


@dataclass(frozen=True)
class VisibleIn:
    """A published video in which the person stays visible. `obstacle` says why it can't be rendered again.

    `ref` is its report, as long as which is there and says so the result is found.
    """

    report: Report
    ref: ObjectRef
    obstacle: str | None

    @property
    def result(self) -> str:
        return f"gs://{self.ref.bucket}/{self.report.result}"


@dataclass(frozen=True)
class PersonData:
    """What there is of a person in a channel.

    `under_way` are jobs that are to keep the person. `remains` are objects that nobody needs: what was made by jobs
    that have ended, older versions of reports that name the person. `named` are documents that stay, and what they
    say without the name. `old` are versions that a bucket with object versioning keeps of results that showed the
    person, each job's report last. `untold` are results without a readable report, `unreadable` jobs of any channel
    of which the work bucket holds something that can't be read, such as the manifest.
    """

    pictures: tuple[ObjectRef, ...] = ()
    under_way: tuple[str, ...] = ()
    remains: tuple[ObjectRef, ...] = ()
    named: tuple[tuple[ObjectRef, bytes], ...] = ()
    shown: tuple[VisibleIn, ...] = ()
    old: tuple[ObjectRef, ...] = ()
    untold: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def people(channel: str) -> tuple[str, ...]:
    """Whom the channel's target pictures name."""
    blobs = objects.list_blobs(settings().intake_bucket, object_names.targets_prefix(channel))
    return object_names.people(blob.name for blob in blobs)


def look(channel: str, person: str) -> PersonData:
    """All that there is of the person now."""
    work, published = _of_jobs(channel, person), _published(channel, person)
    return replace(
        published,
        pictures=pictures(channel, person),
        under_way=work.under_way,
        remains=(*work.remains, *published.remains),
        named=(*work.named, *published.named),
        unreadable=work.unreadable,
    )


def pictures(channel: str, person: str) -> tuple[ObjectRef, ...]:
    """All versions of the person's target pictures, and of what lies beside them."""
    blobs = objects.list_versions(settings().intake_bucket, object_names.targets_prefix(channel))
    return tuple(objects.reference(blob) for blob in blobs if object_names.is_of_person(blob.name, person))


def _of_jobs(channel: str, person: str) -> PersonData:
    """What the work bucket holds. What can't be read of one job keeps nobody from finding the others'."""
    under_way: list[str] = []
    remains: list[ObjectRef] = []
    named: list[tuple[ObjectRef, bytes]] = []
    unreadable: list[str] = []
    for job in all_jobs():
        try:
            found = _of_job(job, channel, person)
        except PermanentError:
            unreadable.append(job)
            continue
        under_way += found.under_way
        remains += found.remains
        named += found.named
    return PersonData(
        under_way=tuple(under_way), remains=tuple(remains), named=tuple(named), unreadable=tuple(unreadable)
    )


def _of_job(job: str, channel: str, person: str) -> PersonData:
    """A job without a manifest may be any channel's; its end says what it is about.

    Raises PermanentError if its manifest or its end can't be read.
    """
    found = job_state.find_manifest(job)
    if found is not None and found[0].channel != channel:
        return PersonData()
    there = {ref.name: ref for ref in objects.list_all(settings().work_bucket, object_names.job_prefix(job))}
    is_published, has_failed = object_names.published(job) in there, object_names.failed(job) in there
    named = [] if is_published else list(_ends_naming(job, channel, person))
    remains: list[ObjectRef] = []
    if found is not None and _any_is(found[0].targets, person):
        if not is_published and not has_failed:
            return PersonData(under_way=(job,), named=_written(named))
        # Kept by the policy `work`: they name the person, or show them. By the manifest they are found.
        made = (object_names.faces(job), object_names.segments_prefix(job))
        remains += [ref for name, ref in there.items() if name.startswith(made)]
        named.append((found[1], _manifest_without(found[0], person)))
    return PersonData(remains=tuple(remains), named=_written(named))


def _written(documents: Iterable[tuple[ObjectRef, Document]]) -> tuple[tuple[ObjectRef, bytes], ...]:
    return tuple((ref, document.model_dump_json(indent=2).encode()) for ref, document in documents)


def _ends_naming(job: str, channel: str, person: str) -> Iterator[tuple[ObjectRef, Document]]:
    """The job's end, if it failed because of a picture of the person: without the picture's name.

    The verdict first, because `failed.json` is made of it.
    """
    said = verdict.find(job)
    if said is not None and said[0].failed is not None:
        failed = said[0].failed
        if _names(failed, channel, person):
            yield said[1], said[0].model_copy(update={"failed": _failed_without(failed)})
    recorded = objects.find_json(settings().work_bucket, object_names.failed(job), Failed)
    if recorded is not None and _names(recorded[0], channel, person):
        yield recorded[1], _failed_without(recorded[0])


def _names(failed: Failed, channel: str, person: str) -> bool:
    is_of_channel = failed.source is None or object_names.channel_of_input(failed.source.name) == channel
    return is_of_channel and object_names.names_picture(failed.message, person)


def _failed_without(failed: Failed) -> Failed:
    source = object_names.owner_name(failed.source.name) if failed.source else "A video"
    message = (
        f"{source} was not published: a target picture, removed since, could not be used. Upload it again."
    )
    return failed.model_copy(update={"message": message})


def _manifest_without(manifest: Manifest, person: str) -> Manifest:
    """Whoever is still at the job shows the person: so nothing is kept any more of what they may yet write."""
    targets = tuple(target for target in manifest.targets if not same_name(target, person))
    policy = manifest.policy.model_copy(update={"keep_intermediates": False})
    return manifest.model_copy(update={"targets": targets, "policy": policy})


def _published(channel: str, person: str) -> PersonData:
    """What the output bucket holds."""
    blobs = objects.list_versions(settings().output_bucket, object_names.channel_prefix(channel))
    ours = [blob for blob in blobs if object_names.OF_JOB in (blob.metadata or {})]
    shown, named, remains, told, once_shown = [], [], [], set(), set()
    for blob in ours:
        report = _report(blob)
        if report is None:
            continue
        ref, is_live = objects.reference(blob), blob.time_deleted is None
        if is_live:
            told |= {blob.name, report.result}
        if _keeps(report, person):
            if is_live:
                shown.append(VisibleIn(report, ref, _obstacle(report)))
            else:
                once_shown.add(report.job)
        elif _any_is((*report.targets, *(track.person or "" for track in report.tracks)), person):
            if is_live:
                named.append((ref, without(report, person).to_bytes()))
            else:
                remains.append(ref)
    old = [blob for blob in ours if blob.time_deleted and blob.metadata[object_names.OF_JOB] in once_shown]
    old.sort(key=_is_report)
    output = settings().output_bucket
    untold = sorted({blob.name for blob in ours if blob.time_deleted is None} - told)
    return PersonData(
        shown=tuple(shown),
        named=tuple(named),
        remains=tuple(remains),
        old=tuple(map(objects.reference, old)),
        untold=tuple(f"gs://{output}/{name}" for name in untold),
    )


def without(report: Report, person: str) -> Report:
    """The report with the person's faces hidden and the name gone."""
    tracks = tuple(
        _hide(track) if track.person and same_name(track.person, person) else track for track in report.tracks
    )
    targets = tuple(target for target in report.targets if not same_name(target, person))
    warnings = tuple(item for item in report.faces.warnings if not same_name(item.person, person))
    faces = replace(report.faces, warnings=warnings)
    return report.model_copy(update={"faces": faces, "tracks": tracks, "targets": targets})


def _hide(track: Track) -> Track:
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


def replacement_of(report: Report) -> ObjectRef | None:
    """The picture that covers faces in the channel of this report."""
    video = object_names.parse_video(report.source.name)
    if video is None:
        return None
    blob = objects.find(report.source.bucket, object_names.replacement(video.channel))
    return objects.reference(blob) if blob is not None else None


def _report(blob: Blob) -> Report | None:
    """The report that this is; None if it is a video, or a report that can't be read or was just replaced."""
    if not _is_report(blob):
        return None
    try:
        return objects.read_report(objects.reference(blob))
    except PermanentError:
        return None


def _is_report(blob: Blob) -> bool:
    video = object_names.parse_video(str(blob.metadata.get(object_names.OF_SOURCE, "")))
    return video is not None and blob.name == video.report


def _keeps(report: Report, person: str) -> bool:
    tracks = report.tracks
    return _any_is((track.person or "" for track in tracks if track.decision == "keep"), person)


def _any_is(names: Iterable[str], person: str) -> bool:
    return any(same_name(name, person) for name in names)


def _obstacle(report: Report) -> str | None:
    source = report.source
    if objects.find(source.bucket, source.name, source.generation) is None:
        return "its source is gone"
    if report.policy.mode == "image" and replacement_of(report) is None:
        return "the picture that covers faces is gone"
    return None
