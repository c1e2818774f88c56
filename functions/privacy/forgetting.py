"""Forget a person of a channel: no picture, no job that still keeps them, no name; and the results that show them.

In this order: the target pictures go, so no new job keeps the person. Jobs under way that do are failed. Then the
reports tell in which results the person stays visible: those can be rendered again, with that person's faces
hidden, as long as their sources are there. Each step may be done again.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from google.cloud.storage import Blob

from functions.pipeline import ending, jobs, layout, store
from functions.pipeline.contracts import Faces, Manifest, ObjectRef, Published, Report, ReportHead
from functions.pipeline.errors import PermanentError, RetryableError
from functions.pipeline.settings import settings
from functions.privacy.jobs_of import Say, all_jobs, alone

MP4 = "video/mp4"
REASON = "no longer to be kept"

Removed = Callable[[ObjectRef], None]
# Writes the video of a report into a file; gets the replacement picture if the report's policy needs one.
RenderAgain = Callable[[Report, bytes | None, Path], None]


@dataclass(frozen=True)
class Shown:
    """A published video in which the person stays visible. `obstacle` says why it can't be rendered again."""

    report: Report
    ref: ObjectRef
    obstacle: str | None

    @property
    def result(self) -> str:
        return f"gs://{self.ref.bucket}/{self.report.result}"


@dataclass(frozen=True)
class Traces:
    """What there is of a person in a channel.

    `under_way` are jobs that are to keep the person, `over` the manifests of such that have ended. `named` are
    reports that name the person and show nobody by that name. `old` are versions that a bucket with object
    versioning keeps of results that showed the person. `untold` are results without a readable report.
    """

    pictures: tuple[ObjectRef, ...]
    under_way: tuple[str, ...]
    over: tuple[tuple[Manifest, ObjectRef], ...]
    shown: tuple[Shown, ...]
    named: tuple[tuple[Report, ObjectRef], ...]
    old: tuple[ObjectRef, ...]
    untold: tuple[str, ...]


NOTHING = Traces((), (), (), (), (), (), ())


def people(channel: str) -> tuple[str, ...]:
    """Whom the channel's target pictures name."""
    blobs = store.list_blobs(settings().intake_bucket, layout.targets_prefix(channel))
    return tuple(sorted({person for blob in blobs if (person := layout.parse_target(blob.name))}))


def look(channel: str, person: str) -> Traces:
    """All that there is of the person now."""
    under_way, over = _jobs_keeping(channel, person)
    return Traces(_pictures(channel, person), under_way, over, *_published(channel, person))


def withdraw(channel: str, person: str, removed: Removed, say: Say) -> Traces:
    """Delete the pictures, fail the jobs under way, take the name out of what stays; gives what is left then."""
    for ref in _pictures(channel, person):
        store.delete(ref)
        removed(ref)
    for job in _jobs_keeping(channel, person)[0]:
        with alone(job, say) as held:
            if not jobs.is_over(job):
                ending.call_off(job, "forget", _withdrawn(job), held.keep)
            if jobs.has_failed(job):
                say(f"Job {job} was under way and has failed: drop its video again.")
    traces = look(channel, person)
    for manifest, ref in traces.over:
        # Kept by the policy `work`: they name the person, or show them. By the manifest a next run finds them.
        store.delete_any(ref.bucket, layout.faces(manifest.job))
        store.delete_all(ref.bucket, layout.segments_prefix(manifest.job))
        people = tuple(target for target in manifest.targets if target != person)
        _replace(ref, manifest.model_copy(update={"targets": people}).model_dump_json(indent=2).encode())
    for report, ref in traces.named:
        _replace(ref, _document(without(report, person)))
    return traces


def hide_again(shown: Shown, person: str, render_again: RenderAgain) -> None:
    """Replace the result by one with the person hidden, then the report. Raises PermanentError if that can't be."""
    report = without(shown.report, person)
    result = _result_of(shown)
    with tempfile.TemporaryDirectory(prefix="defacer-forget-") as folder:
        out = Path(folder) / "result.mp4"
        render_again(report, _replacement(report), out)
        ref = _replace(store.reference(result), out, MP4)
    _replace(shown.ref, _document(report))
    found = store.find_json(settings().work_bucket, layout.published(report.job), Published)
    if found is not None:
        _replace(found[1], found[0].model_copy(update={"result": ref}).model_dump_json(indent=2).encode())


def delete_result(shown: Shown, removed: Removed) -> None:
    """Delete the result and its report, in this order: as long as the report is there, the result is found."""
    for ref in (store.reference(_result_of(shown)), shown.ref):
        store.delete(ref)
        removed(ref)


def delete_versions(versions: tuple[ObjectRef, ...], removed: Removed) -> None:
    """Delete what a bucket with object versioning keeps of results that showed the person."""
    for ref in versions:
        store.delete(ref)
        removed(ref)


def without(report: Report, person: str) -> Report:
    """The report with the person's faces hidden and the name gone."""
    tracks = tuple(
        track.model_copy(
            update={"decision": "hide", "person": None, "reason": REASON, "distance": None, "margin": None}
        )
        if track.person == person
        else track
        for track in report.faces.tracks
    )
    faces: Faces = report.faces.model_copy(update={"tracks": tracks})
    targets = tuple(target for target in report.targets if target != person)
    return report.model_copy(update={"faces": faces, "targets": targets})


def _document(report: Report) -> bytes:
    """The report as merge writes it: a head to read, and the faces without a space between."""
    head = ReportHead.model_validate(report.model_dump(exclude={"faces"}))
    return head.with_faces(report.faces.model_dump_json().encode())


def _pictures(channel: str, person: str) -> tuple[ObjectRef, ...]:
    blobs = store.list_versions(settings().intake_bucket, layout.targets_prefix(channel))
    return tuple(store.reference(blob) for blob in blobs if layout.is_of_person(blob.name, person))


def _jobs_keeping(
    channel: str, person: str
) -> tuple[tuple[str, ...], tuple[tuple[Manifest, ObjectRef], ...]]:
    """Jobs that are to keep the person: those under way, and the manifests of those that have ended."""
    under_way, over = [], []
    for job in all_jobs():
        found = jobs.find_manifest(job)
        if found is None or found[0].channel != channel or person not in found[0].targets:
            continue
        if jobs.is_over(job):
            over.append(found)
        else:
            under_way.append(job)
    return tuple(under_way), tuple(over)


def _published(
    channel: str, person: str
) -> tuple[tuple[Shown, ...], tuple[tuple[Report, ObjectRef], ...], tuple[ObjectRef, ...], tuple[str, ...]]:
    """What the output holds of the person: `shown`, `named`, `old` and `untold` of Traces."""
    blobs = store.list_versions(settings().output_bucket, layout.channel_prefix(channel))
    ours = [blob for blob in blobs if layout.OF_JOB in (blob.metadata or {})]
    live = {blob.name for blob in ours if blob.time_deleted is None}
    shown, named, told, old_jobs = [], [], set(), set()
    for blob in ours:
        report = _report(blob)
        if report is None:
            continue
        ref, keeps = store.reference(blob), _keeps(report, person)
        if blob.time_deleted is not None:
            old_jobs |= {report.job} if keeps else set()
            continue
        told |= {blob.name, report.result}
        if keeps:
            shown.append(Shown(report, ref, _obstacle(report)))
        elif person in report.targets or any(track.person == person for track in report.faces.tracks):
            named.append((report, ref))
    old = [
        blob for blob in ours if blob.time_deleted is not None and blob.metadata[layout.OF_JOB] in old_jobs
    ]
    output = settings().output_bucket
    untold = tuple(f"gs://{output}/{name}" for name in sorted(live - told))
    return tuple(shown), tuple(named), tuple(map(store.reference, old)), untold


def _report(blob: Blob) -> Report | None:
    """The report that this is; None if it is a video, or a report that can't be read or was just replaced."""
    video = layout.parse_video(str(blob.metadata.get(layout.OF_SOURCE, "")))
    if video is None or blob.name != video.report:
        return None
    try:
        return store.read_json(store.reference(blob), Report)
    except PermanentError:
        return None


def _keeps(report: Report, person: str) -> bool:
    return any(track.decision == "keep" and track.person == person for track in report.faces.tracks)


def _obstacle(report: Report) -> str | None:
    source = report.source
    if store.find(source.bucket, source.name, source.generation) is None:
        return "its source is gone"
    if report.policy.mode == "image" and _replacement_ref(report) is None:
        return "the picture that covers faces is gone"
    return None


def _replacement_ref(report: Report) -> ObjectRef | None:
    video = layout.parse_video(report.source.name)
    if video is None:
        return None
    blob = store.find(report.source.bucket, layout.replacement(video.channel))
    return store.reference(blob) if blob is not None else None


def _replacement(report: Report) -> bytes | None:
    ref = _replacement_ref(report) if report.policy.mode == "image" else None
    return store.read(ref) if ref is not None else None


def _result_of(shown: Shown) -> Blob:
    blob = store.find(shown.ref.bucket, shown.report.result)
    if blob is None or (blob.metadata or {}).get(layout.OF_JOB) != shown.report.job:
        raise PermanentError(
            "result-changed",
            f"{shown.result} is not the result that its report is about: a newer upload is being published, or it "
            "was deleted or replaced by hand.",
        )
    return blob


def _replace(ref: ObjectRef, data: Path | bytes, content_type: str = store.JSON) -> ObjectRef:
    """Write a new version in place of this one, with its metadata; nothing stays of this one, nowhere."""
    there = store.find(ref.bucket, ref.name, ref.generation)
    if there is None:
        raise RetryableError("an object was changed by somebody else meanwhile")
    try:
        new = store.replace(
            ref.bucket,
            ref.name,
            data,
            content_type,
            generation=ref.generation,
            metadata=there.metadata,
        )
    except store.AlreadyWrittenError as error:
        raise RetryableError("an object was changed by somebody else meanwhile") from error
    if new != ref:
        store.delete(ref)
    return new


def _withdrawn(job: str) -> PermanentError:
    found = jobs.find_manifest(job)
    name = f"gs://{found[0].source.bucket}/{found[0].source.name}" if found else "A video"
    return PermanentError(
        "person-forgotten",
        f"{name} was not published: somebody whom it was to keep visible is no longer to be kept. Upload it again.",
    )
