"""The promises of `pipeline/README.md`, checked when no message is left."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.storage import object_names
from defacer.report.tracks import Reason, TrackRecord
from tests.protocol.engine import Clip, frames_of, segment_writers
from tests.protocol.memory import Storage, Stored
from tests.protocol.scenario import BUG, REPORT, RESULT, Scenario
from tests.protocol.world import World

INTAKE, WORK, OUTPUT = "intake", "work", "output"
# The objects that a job leaves (functions/defacer/pipeline/README.md, "What stays").
STAYS = {"manifest.json", "verdict.json", "published.json", "failed.json"}
EMBEDDINGS = ("gallery-", "segment-detections/")
REPORT_FACES = b'"faces"'  # missing in a foreign report
# Deliveries until all messages are handled after the last fault: measured, with a margin.
DELIVERIES_IN_PEACE = 120


@dataclass(frozen=True)
class Upload:
    """A video, or a re-render request: then `of` is the upload of the video."""

    name: str
    generation: int
    clip: Clip
    of: "Upload | None" = None

    @property
    def job(self) -> str:
        return object_names.job_id(INTAKE, self.name, self.generation)

    @property
    def age(self) -> tuple[int, int]:
        """The order of versions: the newest re-render of the newest upload stays published."""
        return (self.of.generation, self.generation) if self.of else (self.generation, 0)


def find_violations(
    scenario: Scenario, storage: Storage, uploads: list[Upload], world: World, erased: set[str]
) -> list[str]:
    """Return the broken promises as sentences. `erased` are the ids of erased jobs."""
    documents = [json.loads(event) for event in world.events]
    found = [
        _of_erased(storage, upload, world)
        if _is_erased(storage, upload, erased)
        else _of_job(scenario, storage, upload, documents, world)
        for upload in uploads
    ]
    listed = [*storage.names(WORK, object_names.WAITING), *storage.names(WORK, object_names.TURNS)]
    left = [f"{name} is left in the list of waiting jobs" for name in listed]
    return [*chain(*found, left, _of_result(scenario, storage, uploads, erased), _of_deliveries(world))]


def _is_erased(storage: Storage, upload: Upload, erased: set[str]) -> bool:
    """Return whether the job is erased. A re-render is erased with its upload if it had a manifest."""
    if upload.of is None or upload.of.job not in erased:
        return upload.job in erased
    failed = storage.objects.get((WORK, object_names.failed(upload.job)))
    no_manifest = (WORK, object_names.manifest(upload.job)) not in storage.objects
    return not (no_manifest and failed and "erased" not in (failed.metadata or {}))


def _of_erased(storage: Storage, upload: Upload, world: World) -> Iterator[str]:
    """Check that only the erasure mark is left in all buckets."""
    number = upload.generation
    left = _left(storage, upload.job, world)
    late = storage.objects.get((WORK, object_names.published(upload.job)))
    if late is not None and late.writer in world.orphans:  # the first known gap of pipeline/README.md
        left.discard("published.json")
    mark = storage.objects.get((WORK, object_names.failed(upload.job)))
    if left != {"failed.json"} or mark is None or "erased" not in (mark.metadata or {}):
        yield f"job {number} was erased, and left behind: {sorted(left)}"
    if live := _live(storage, _written(storage, upload.job)):
        yield f"job {number} was erased, and {live} are still published"
    if storage.versions_with_prefix(INTAKE, _confirmation_of(upload)):
        yield f"job {number} was erased, and its confirmation is still there"
    if number in [stored.generation for stored in storage.versions_with_prefix(INTAKE, upload.name)]:
        yield f"job {number} was erased, and its source is still there"


def _of_job(
    scenario: Scenario, storage: Storage, upload: Upload, documents: list[dict[str, str]], world: World
) -> Iterator[str]:
    job, number = upload.job, upload.generation
    left = _left(storage, job, world)
    published, failed = "published.json" in left, "failed.json" in left
    if published == failed:
        yield f"job {number}: published {published}, failed {failed}"
    told = [document["type"] for document in documents if document["subject"] == job]
    ends = {"job.completed"} if published else {"job.failed"}
    if set(told) - {"job.planned", "job.waiting"} != ends:
        yield f"job {number}: its events are {told}, expected {ends}"
    if published and told[0] != "job.planned":
        yield f"job {number}: its end was announced before its beginning: {told}"
    if leak := [name for name in left if name.startswith(EMBEDDINGS)]:
        yield f"job {number}: embeddings are left: {leak}"
    written = _written(storage, job)
    # A slow copy can land after the job failed and its first copy was rolled back.
    landed_late = scenario.slow_copies and failed
    if not landed_late and any(count > 1 for count in Counter(stored.name for stored in written).values()):
        yield f"job {number}: published twice"
    if litter := left - STAYS:
        yield f"job {number}: published {published}, and left behind: {sorted(litter)}"
    if failed:
        yield from _of_failure(scenario, storage, upload, written, world)
    elif published:
        yield from _of_marker(scenario, storage, upload, written)
        live = storage.objects.get((INTAKE, upload.name))
        if scenario.delete_source and upload.of is None and live and live.generation == number:
            yield f"job {number}: its source is still there"


def _of_failure(
    scenario: Scenario, storage: Storage, upload: Upload, written: list[Stored], world: World
) -> Iterator[str]:
    number = upload.generation
    failed = json.loads(storage.get(WORK, object_names.failed(upload.job)).data)
    actions = scenario.all_actions
    foreign = "a foreign report" in actions and failed["code"] == "result-exists"
    # Then it can have been published for a moment: a bug after the copy of the result rolls it back.
    is_rolled_back = foreign or scenario.slow_copies or failed["code"] == "internal-error"
    if out := _live(storage, written) if is_rolled_back else [stored.name for stored in written]:
        yield f"job {number}: failed, and published {out}"
    manifest = storage.objects.get((WORK, object_names.manifest(upload.job)))
    if failed["code"] == "target-gone" and manifest is not None and json.loads(manifest.data)["targets"]:
        yield f"job {number}: its manifest names a person whose pictures were removed"
    renders = upload.of is not None
    rerenders = list(scenario.actions.values()).count("rerender")
    report_taken = bool({"upload", "a foreign report"} & actions)
    reasons = {
        "not-a-video": upload.clip.bad is not None,
        "source-gone": bool({"delete the source", "upload"} & actions)
        or (renders and scenario.delete_source),
        # A later request or upload was published first.
        "request-gone": renders and rerenders > 1,
        "report-gone": renders and (rerenders > 1 or report_taken),
        "result-changed": renders and report_taken,
        "result-exists": bool({"a foreign result", "a foreign report"} & actions),
        "target-gone": "remove the target" in actions,
        "object-gone": "remove the target" in actions,
        "exhausted": not scenario.harmless,
        "internal-error": scenario.has_bugs or (not scenario.harmless and BUG in world.counts),
        # Only stalls make the merge of a small clip time out.
        "review-timeout": scenario.confirm_seconds is not None
        and not scenario.publish_hidden
        and (INTAKE, _confirmation_of(upload)) not in storage.objects,
        "too-slow": world.counts.get("stall", 0) >= scenario.max_timeouts,
        "poison-segment": scenario.segment_attempts < 5 or len(scenario.trouble) >= 5,
    }
    if not reasons.get(failed["code"], False):
        yield f"job {number}: failed without a reason: {failed['code']}: {failed['message']}"


def _of_marker(scenario: Scenario, storage: Storage, upload: Upload, written: list[Stored]) -> Iterator[str]:
    """Check that `published.json` names the published result, and that this is the whole video, redacted once."""
    published = json.loads(storage.get(WORK, object_names.published(upload.job)).data)
    result = published["result"]
    names = [stored.name for stored in written]
    if published["superseded"]:
        if result is not None:
            yield f"job {upload.generation}: superseded, and has a result"
        return
    ours = [stored for stored in written if result and stored.generation == result["generation"]]
    if len(ours) != 1:
        yield f"job {upload.generation}: names the result {result}, and published {names}"
        return
    if frames_of(ours[0].data) != [(frame, 1) for frame in upload.clip.frames]:
        yield f"job {upload.generation}: its result is {ours[0].data!r}"
    reports = [stored for stored in written if stored.name == REPORT]
    if reports and REPORT_FACES in reports[-1].data:
        decided, *tracks = JobReport.from_bytes(reports[-1].data).tracks
        yield from _of_decision(scenario, storage, upload, decided)
        told = [(track.start, track.detections[0].box[0]) for track in tracks]
        found = segment_writers(ours[0].data)
        earlier = told[: -len(found)]  # a re-render keeps the faces of earlier checks
        if told[-len(found) :] != found or (earlier and upload.of is None):
            yield f"job {upload.generation}: its report has {told}, its segments {found}"


def _of_decision(scenario: Scenario, storage: Storage, upload: Upload, decided: TrackRecord) -> Iterator[str]:
    """Check that nothing is published that a person had to confirm and did not."""
    expected = {("keep", Reason.MATCHED)}
    if scenario.confirm_seconds is not None or upload.of is not None:
        is_confirmed = upload.of is not None or (INTAKE, _confirmation_of(upload)) in storage.objects
        expected = {("keep", Reason.MANUAL)} if is_confirmed else {("hide", Reason.NOT_CONFIRMED)}
    if (decided.decision, decided.reason) not in expected:
        yield f"job {upload.generation}: published {decided.decision} ({decided.reason}), expected {expected}"


def _confirmation_of(upload: Upload) -> str:
    return object_names.ConfirmationName("street", upload.job).object_name


def _of_result(
    scenario: Scenario, storage: Storage, uploads: list[Upload], erased: set[str]
) -> Iterator[str]:
    """Check that the published result and report belong to the newest upload that was published.

    An older version does not return when the newer one is erased or rolled back. A foreign report stays.
    """
    published = [
        upload for upload in uploads if (WORK, object_names.published(upload.job)) in storage.objects
    ]  # fmt: skip
    there = [storage.objects.get((OUTPUT, name)) for name in (RESULT, REPORT)]
    jobs = [(stored.metadata or {}).get("defacer-job") if stored else None for stored in there]
    expected = max(published, key=lambda upload: upload.age).job if published else None
    actions = scenario.all_actions
    is_rolled_back = "a foreign report" in actions or scenario.slow_copies or scenario.has_bugs
    allowed = {expected, None} if erased or is_rolled_back else {expected}
    if not allowed.issuperset(jobs):
        yield f"result and report are of the jobs {jobs}, expected {expected}"


def _of_deliveries(world: World) -> Iterator[str]:
    if world.deliveries_in_peace > DELIVERIES_IN_PEACE:
        yield f"{world.deliveries_in_peace} deliveries after the last trouble"


def _left(storage: Storage, job: str, world: World) -> set[str]:
    """Return the names of the job's objects in the work bucket."""
    prefix = object_names.job_prefix(job)
    return {
        stored.name.removeprefix(prefix)
        for stored in storage.with_prefix(WORK, prefix)
        # No message is left to delete the last writes of an orphan: the bucket's lifecycle rule does it.
        if stored.writer not in world.orphans or stored.name.endswith("ed.json")
    }


def _live(storage: Storage, written: list[Stored]) -> list[str]:
    """Return the names of the versions that are in the buckets now."""
    live = {stored.generation for stored in storage.objects.values()}
    return [stored.name for stored in written if stored.generation in live]


def _written(storage: Storage, job: str) -> list[Stored]:
    return [
        stored for stored in storage.written
        if stored.bucket == OUTPUT and (stored.metadata or {}).get("defacer-job") == job
    ]  # fmt: skip
