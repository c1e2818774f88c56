"""What must be true when no message is left: the promises of functions/defacer/pipeline/README.md."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from defacer.pipeline.documents.report import Report
from defacer.pipeline.storage import object_names
from tests.protocol.engine import Clip, found_in, frames_of
from tests.protocol.memory import Storage, Stored
from tests.protocol.scenario import BUG, REPORT, RESULT, Scenario
from tests.protocol.world import World

INTAKE, WORK, OUTPUT = "intake", "work", "output"
# What a job may leave behind, by its end (functions/defacer/pipeline/README.md, "What stays").
STAYS = {"manifest.json", "verdict.json", "published.json", "failed.json"}
EMBEDDINGS = ("gallery-", "segment-detections/")
REPORT_FACES = b'"faces"'  # missing in a foreign report
# How many deliveries end everything once nothing goes wrong any more: measured, with room.
DELIVERIES_IN_PEACE = 120


@dataclass(frozen=True)
class Upload:
    """A video, or a request to render one again: then `of` is that video's upload."""

    name: str
    generation: int
    clip: Clip
    of: "Upload | None" = None

    @property
    def job(self) -> str:
        return object_names.job_id(INTAKE, self.name, self.generation)

    @property
    def age(self) -> tuple[int, int]:
        """What is published of the newest stays: of the newest upload, its newest rendering."""
        return (self.of.generation, self.generation) if self.of else (self.generation, 0)


def broken(
    scenario: Scenario, storage: Storage, uploads: list[Upload], world: World, erased: set[str]
) -> list[str]:
    """What is not as promised, as sentences; none if all is well. `erased` are ids of jobs."""
    documents = [json.loads(event) for event in world.events]
    found = [
        _of_erased(storage, upload, world)
        if _is_erased(storage, upload, erased)
        else _of_job(scenario, storage, upload, documents, world)
        for upload in uploads
    ]
    return [*chain(*found, _of_result(scenario, storage, uploads, erased), _of_deliveries(world))]


def _is_erased(storage: Storage, upload: Upload, erased: set[str]) -> bool:
    """A rendering is erased with its upload, but for one that failed before it had a manifest: that shows nobody."""
    if upload.of is None or upload.of.job not in erased:
        return upload.job in erased
    failed = storage.objects.get((WORK, object_names.failed(upload.job)))
    no_manifest = (WORK, object_names.manifest(upload.job)) not in storage.objects
    return not (no_manifest and failed and "erased" not in (failed.metadata or {}))


def _of_erased(storage: Storage, upload: Upload, world: World) -> Iterator[str]:
    """Nothing is left of it, in any bucket, but the mark."""
    number = upload.generation
    left = _left(storage, upload.job, world)
    mark = storage.objects.get((WORK, object_names.failed(upload.job)))
    if set(left) != {"failed.json"} or mark is None or "erased" not in (mark.metadata or {}):
        yield f"job {number} was erased, and left behind: {sorted(left)}"
    if live := _live(storage, _written(storage, upload.job)):
        yield f"job {number} was erased, and {live} are out"
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
    if set(told) - {"job.planned"} != ends:
        yield f"job {number}: its events are {told}, expected {ends}"
    if published and told[0] != "job.planned":
        yield f"job {number}: its end was told before its beginning: {told}"
    if leak := [name for name in left if name.startswith(EMBEDDINGS)]:
        yield f"job {number}: embeddings are left: {leak}"
    written = _written(storage, job)
    # Where copies are slow, one may land when the job is failed and its first one taken back.
    landed_late = scenario.slow_copies and failed
    if not landed_late and any(count > 1 for count in Counter(stored.name for stored in written).values()):
        yield f"job {number}: published twice"
    if litter := left - STAYS:
        yield f"job {number}: published {published}, and left behind: {sorted(litter)}"
    if failed:
        yield from _of_failure(scenario, storage, upload, written, world)
    elif published:
        yield from _of_marker(storage, upload, written)
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
    taken_back = foreign or scenario.slow_copies  # then it may have been out for a moment
    if out := _live(storage, written) if taken_back else [stored.name for stored in written]:
        yield f"job {number}: failed, and yet it wrote {out}"
    manifest = storage.objects.get((WORK, object_names.manifest(upload.job)))
    if failed["code"] == "target-gone" and manifest is not None and json.loads(manifest.data)["targets"]:
        yield f"job {number}: its manifest names somebody whose pictures were gone"
    renders = upload.of is not None
    again = list(scenario.actions.values()).count("again")
    report_taken = bool({"upload", "a foreign report"} & actions)
    reasons = {
        "not-a-video": upload.clip.bad is not None,
        "source-gone": bool({"delete the source", "upload"} & actions)
        or (renders and scenario.delete_source),
        # A later request, or an upload, was quicker.
        "request-gone": renders and again > 1,
        "report-gone": renders and (again > 1 or report_taken),
        "result-changed": renders and report_taken,
        "result-exists": bool({"a foreign result", "a foreign report"} & actions),
        "target-gone": "remove the target" in actions,
        "object-gone": "remove the target" in actions,
        "exhausted": not scenario.harmless,
        "internal-error": scenario.has_bugs or (not scenario.harmless and BUG in world.counts),
        # Stalls make a merge late, and that of a small clip nothing else does.
        "too-slow": world.counts.get("stall", 0) >= scenario.max_timeouts,
        "poison-segment": scenario.segment_attempts < 5 or len(scenario.trouble) >= 5,
    }
    if not reasons.get(failed["code"], False):
        yield f"job {number}: failed without a reason: {failed['code']}: {failed['message']}"


def _of_marker(storage: Storage, upload: Upload, written: list[Stored]) -> Iterator[str]:
    """`published.json` says what was published, and that is the whole video, concealed once."""
    published = json.loads(storage.get(WORK, object_names.published(upload.job)).data)
    result = published["result"]
    names = [stored.name for stored in written]
    if published["superseded"]:
        if result is not None:
            yield f"job {upload.generation}: superseded, and yet it has a result"
        return
    ours = [stored for stored in written if result and stored.generation == result["generation"]]
    if len(ours) != 1:
        yield f"job {upload.generation}: says {result} is its result, but has written {names}"
        return
    if frames_of(ours[0].data) != [(frame, 1) for frame in upload.clip.frames]:
        yield f"job {upload.generation}: its result is {ours[0].data!r}"
    reports = [stored for stored in written if stored.name == REPORT]
    if reports and REPORT_FACES in reports[-1].data:
        tracks = Report.from_bytes(reports[-1].data).tracks
        told = [(track.start, track.detections[0].box[0]) for track in tracks]
        found = found_in(ours[0].data)
        earlier = told[: -len(found)]  # a rendering keeps what earlier checks found
        if told[-len(found) :] != found or (earlier and upload.of is None):
            yield f"job {upload.generation}: its report says {told}, its segments {found}"


def _of_result(
    scenario: Scenario, storage: Storage, uploads: list[Upload], erased: set[str]
) -> Iterator[str]:
    """What lies under the video's name is the newest upload's that was published, with its report.

    What a newer one replaced that was erased then, or taken back, does not come back; and a foreign report stays.
    """
    published = [
        upload for upload in uploads if (WORK, object_names.published(upload.job)) in storage.objects
    ]  # fmt: skip
    there = [storage.objects.get((OUTPUT, name)) for name in (RESULT, REPORT)]
    jobs = [(stored.metadata or {}).get("defacer-job") if stored else None for stored in there]
    expected = max(published, key=lambda upload: upload.age).job if published else None
    actions = scenario.all_actions
    taken_back = "a foreign report" in actions or scenario.slow_copies
    allowed = {expected, None} if erased or taken_back else {expected}
    if not allowed.issuperset(jobs):
        yield f"result and report are of the jobs {jobs}, expected {expected}"


def _of_deliveries(world: World) -> Iterator[str]:
    if world.deliveries_in_peace > DELIVERIES_IN_PEACE:
        yield f"{world.deliveries_in_peace} deliveries after the last trouble"


def _left(storage: Storage, job: str, world: World) -> set[str]:
    """What is left of a job in the work bucket."""
    prefix = object_names.job_prefix(job)
    return {
        stored.name.removeprefix(prefix)
        for stored in storage.with_prefix(WORK, prefix)
        # Nobody comes back for what an orphan wrote last: the bucket's lifecycle rule deletes it.
        if stored.writer not in world.orphans or stored.name.endswith("ed.json")
    }


def _live(storage: Storage, written: list[Stored]) -> list[str]:
    """The names of those versions that are there now."""
    live = {stored.generation for stored in storage.objects.values()}
    return [stored.name for stored in written if stored.generation in live]


def _written(storage: Storage, job: str) -> list[Stored]:
    return [
        stored for stored in storage.written
        if stored.bucket == OUTPUT and (stored.metadata or {}).get("defacer-job") == job
    ]  # fmt: skip
