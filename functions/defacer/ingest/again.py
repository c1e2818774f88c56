"""A request to render a video again: plan its job from the published report, and have it hidden. Nobody is looked for.

The faces of the report, with what was asked for decided anew, are what linking would have written: from there on the
job is like any other. It needs no gallery and no findings, so there are no embeddings.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from defacer.ingest import inputs, planning
from defacer.ingest.plan import VideoFacts
from defacer.pipeline import again, jobs, layout, log, store
from defacer.pipeline.contracts import Again, AgainRequest, Decision, Manifest, ObjectRef, ReportHead
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import settings


@dataclass(frozen=True)
class Decided:
    """A report's faces with other decisions, as `faces.json` has them.

    `people` are named in it; `strangers` are the tracks kept of people who may not be kept.
    """

    document: bytes = field(repr=False)
    people: tuple[str, ...]
    strangers: tuple[int, ...]


@dataclass(frozen=True)
class Means:
    """What rendering again needs of the engine. All raise PermanentError about what they can't use.

    `decide_anew` gets the faces, what is decided anew, and who may be kept by name; its error is the end of a sentence.
    """

    probe: Callable[[ObjectRef], VideoFacts]
    require_picture: Callable[[ObjectRef], None]
    decide_anew: Callable[[bytes, Mapping[int, Decision], Collection[str]], Decided]


def plan(request: ObjectRef, means: Means) -> None:
    """Plan the job of this request, or, if it was planned already, publish its tasks again.

    Twice at once is fine: the first manifest counts, and names the report; the faces and tasks of either are the same.
    """
    if request.bucket != settings().intake_bucket or layout.parse_again(request.name) is None:
        log.info("ignored an object that is no request of the intake bucket")
        return
    job = layout.job_id(request.bucket, request.name, request.generation)
    named = again.video_of(request) or request  # in what is told if it fails
    with jobs.failing(job, "ingest", named, is_past=jobs.is_past_finding):
        if jobs.is_over(job):
            jobs.clean_up(job)  # of a planning that died and came too late
            return
        found, decided = jobs.find_manifest(job), None
        if found is None:
            draft, decided = _draft(job, request, means)
            found = planning.write(draft)
            if found[0] != draft:
                decided = None  # somebody else planned it meanwhile, perhaps from another report
        manifest, ref = found
        faces = store.find(settings().work_bucket, layout.faces(job))
        if faces is None:
            planning.check_still_wanted(manifest)
            faces_ref = _write_faces(job, decided or _decided_as_planned(manifest, means))
        else:
            faces_ref = store.reference(faces)
        if jobs.is_over(job):  # it was given up meanwhile, and its clean-up may have come too early
            jobs.clean_up(job)
            return
        planning.announce(manifest, ref, faces_ref)


def _draft(job: str, ref: ObjectRef, means: Means) -> tuple[Manifest, Decided]:
    request = _read(ref)
    source = request.source
    video = layout.parse_video(source.name)
    blob = store.find(source.bucket, source.name, source.generation)
    if blob is None or video is None:
        raise again.source_gone(source)
    report = again.published_report(source)
    try:
        head, faces = _parts_of(report, store.read(report))
    except PermanentError as error:
        if error.code != "object-gone":
            raise
        raise RetryableError("the report was replaced in this moment: the message comes back") from error
    if head.source != source:
        raise _not_a_report(report)
    decided = _decide(source, faces, request.decisions, means)
    policy = head.policy
    image = inputs.find_replacement(source.bucket, video.channel) if policy.mode == "image" else None
    if image is not None:
        means.require_picture(image)
    facts = means.probe(source)
    manifest = Manifest(
        job=job,
        channel=video.channel,
        source=source,
        source_size=blob.size,
        result=video.result,
        report=video.report,
        policy=policy,
        targets=decided.people,
        gallery=None,
        replacement=image,
        video=planning.described(facts),
        segments=planning.segments_of(facts),
        again=Again(
            of=head.job,
            decisions=request.decisions,
            request=ref,
            report=report,
            fingerprint=head.fingerprint,
        ),
    )
    return manifest, decided


def _read(ref: ObjectRef) -> AgainRequest:
    blob = store.find(ref.bucket, ref.name, ref.generation)
    if blob is None:
        raise _request_gone()
    if blob.size > again.MOST_BYTES:
        raise PermanentError(
            "bad-request",
            f"The request to render a video again has {blob.size} bytes, at most {again.MOST_BYTES} are allowed. "
            "Ask for fewer decisions at once.",
        )
    try:
        data = store.read(ref)
    except PermanentError as error:
        raise _request_gone() from error
    return again.parse(data, ref)


def _request_gone() -> PermanentError:
    return PermanentError(
        "request-gone",
        "The request to render a video again was deleted, or a later request took its place, before it was read. "
        "A later one does both.",
    )


def _parts_of(report: ObjectRef, data: bytes) -> tuple[ReportHead, bytes]:
    """The report without its faces, and these as they are stored: parsed, a long video's would fill the memory."""
    try:
        head, faces = ReportHead.apart(data)
    except ValueError as error:
        raise _not_a_report(report) from error
    return store.parsed(head, report, ReportHead), faces


def _not_a_report(report: ObjectRef) -> PermanentError:
    return PermanentError(
        "bad-object",
        f"{layout.owner_name(report.name)} is not the report that was published there. Upload the video again.",
    )


def _decide(source: ObjectRef, faces: bytes, decisions: Mapping[int, Decision], means: Means) -> Decided:
    """The report's faces with what was asked for decided anew. Raises PermanentError for a track that is not there.

    Whoever is kept by name needs a target picture: without one, they may have withdrawn their consent.
    """
    name = layout.owner_name(source.name)
    channel = layout.channel_of_input(source.name) or ""
    known = {picture.person for picture in inputs.list_targets(source.bucket, channel)}
    try:
        decided = means.decide_anew(faces, decisions, known)
    except PermanentError as error:
        raise PermanentError(error.code, f"{name} can't be rendered again: {error}") from error
    if decided.strangers:
        tracks = ", ".join(map(str, decided.strangers))
        raise PermanentError(
            jobs.TARGET_GONE,
            f"{name} was not rendered again: it keeps people of whom there is no target picture any more (tracks "
            f"{tracks}). Hide these tracks, too, or upload the pictures again.",
        )
    return decided


def _decided_as_planned(manifest: Manifest, means: Means) -> Decided:
    """What a planning that died, or was slower, has decided: the manifest says by which report."""
    planned = manifest.again
    if planned is None:
        raise PermanentError("bad-object", "The plan of this job can't be used. Ask for it again.")
    try:
        _, faces = _parts_of(planned.report, store.read(planned.report))
    except PermanentError as error:
        raise PermanentError(
            "report-gone",
            f"{layout.owner_name(manifest.source.name)} was not rendered again: its report was deleted or "
            "replaced while that was being planned. Ask for it again.",
        ) from error
    return _decide(manifest.source, faces, planned.decisions, means)


def _write_faces(job: str, decided: Decided) -> ObjectRef:
    """The commit of what linking would be."""
    try:
        return store.write_once(settings().work_bucket, layout.faces(job), decided.document)
    except store.AlreadyWrittenError as error:
        return error.existing
