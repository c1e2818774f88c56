"""A published video with three faces to re-render. The color of their pixels shows which are hidden."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Failed, Published
from defacer.pipeline.documents.manifest import Manifest, Policy
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.lifecycle import rerender_request
from defacer.pipeline.storage import object_names
from defacer.report.edits import Edits
from defacer.report.tracks import Decision, TrackRecord
from tests.cloud import Buckets, Post, Push, Topics, upload_push
from tests.functions.merging import REPORT, RESULT
from tests.functions.records import failure_of
from tests.inbox import document
from tests.planned import Planned, faces_of, link_job, plan_job, track_of

WHITE = Policy(mode="solid", color="#ffffff")
EILEEN = "channels/street/targets/Eileen.png"
# Three faces in a row. A mask is a little larger than its box.
BOXES = ((20.0, 50.0, 60.0, 100.0), (130.0, 50.0, 170.0, 100.0), (240.0, 50.0, 280.0, 100.0))
MIDDLES = tuple((round(x1 + x2) // 2, round(y1 + y2) // 2) for x1, y1, x2, y2 in BOXES)


def tracks_of(planned: Planned, *people: str | None) -> list[TrackRecord]:
    """Return one track per box. Tracks with a name are kept."""
    return [track_of(planned, person, number, BOXES[number]) for number, person in enumerate(people)]


@dataclass
class Cloud:
    """The buckets and topics of a test, and the functions. They get only the messages that `deliver` passes on."""

    buckets: Buckets
    topics: Topics
    ingest: Post
    worker: Post
    merge: Post
    delivered: dict[str, int] = field(default_factory=dict)

    def publish_first(self, clip: Path, policy: Policy = WHITE) -> Planned:
        """Publish a job with three tracks, and keep Eileen's. The worker and merge are the real ones."""
        self.buckets.put(self.buckets.intake, EILEEN, b"a picture")
        planned = plan_job(self.buckets, clip, policy=policy, targets=("Eileen",))
        linked = link_job(self.buckets, planned, faces_of(planned, *tracks_of(planned, "Eileen", None, None)))
        for index in range(len(linked.manifest.segments)):
            assert self.worker(linked.task(index)) == 200
        self.deliver(self.topics.segments_done, self.merge)
        assert self.hidden() == [False, True, True]
        return linked

    def new_messages(self, topic: str) -> list[Push]:
        """Return the messages of a topic since the last call."""
        pushes = self.topics.all(topic)
        before, self.delivered[topic] = self.delivered.get(topic, 0), len(pushes)
        return pushes[before:]

    def deliver(self, topic: str, function: Post, times: int = 1) -> None:
        """Deliver the new messages of a topic to a function."""
        for push in self.new_messages(topic):
            for _ in range(times):
                assert function(push) == 200

    def write_request(self, job: str, changes: Edits | Mapping[int, Decision]) -> ObjectRef:
        """Write the request as the console does."""
        edits = changes if isinstance(changes, Edits) else Edits(decisions=dict(changes))
        asked = rerender_request.request_rerender(job, edits)
        request = self.request()
        assert asked.job == object_names.job_of(request)
        return request

    def request(self) -> ObjectRef:
        """Return the stored request."""
        (name,) = self.buckets.names(self.buckets.intake, "channels/street/rerender/")
        blob = self.buckets.blob(self.buckets.intake, name)
        return ObjectRef(bucket=self.buckets.intake, name=name, generation=int(blob.generation))

    def run(self, request: ObjectRef, times: int = 1) -> str:
        """Run a request to its end, deliver each message `times` times, and return the job."""
        for number in range(times):
            assert self.ingest(upload_push(request, f"upload {number}")) == 200
        self.deliver(self.topics.segments, self.worker, times)
        self.deliver(self.topics.segments_done, self.merge, times)
        return object_names.job_of(request)

    def run_until_last_merge(self, request: ObjectRef) -> None:
        """Run a request, but do not deliver the last messages to merge."""
        assert self.ingest(upload_push(request)) == 200
        self.deliver(self.topics.segments, self.worker)

    def rewrite_report(self, report: JobReport) -> None:
        """Put another report in the place of the published one."""
        self.rewrite_report_bytes(report.to_bytes())

    def rewrite_report_bytes(self, data: bytes) -> None:
        """Replace the published report by these bytes."""
        blob = self.buckets.blob(self.buckets.output, REPORT)
        blob.metadata = dict(blob.metadata)
        blob.upload_from_string(data)

    def hidden(self) -> list[bool]:
        """Return for each face whether it is masked in all frames of the result. Fail if it is masked in some."""
        with av.open(io.BytesIO(self.buckets.get(self.buckets.output, RESULT))) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        seen = [[bool(picture[y, x].min() > 250) for x, y in MIDDLES] for picture in pictures]
        assert seen
        assert all(frame == seen[0] for frame in seen)
        return seen[0]

    def report(self) -> JobReport:
        return JobReport.from_bytes(self.buckets.get(self.buckets.output, REPORT))

    def published(self, job: str) -> Published:
        return Published.model_validate_json(self.buckets.get(self.buckets.work, object_names.published(job)))

    def failed(self, job: str) -> Failed:
        return failure_of(self.buckets, job)

    def manifest(self, job: str) -> Manifest:
        return Manifest.model_validate_json(self.buckets.get(self.buckets.work, object_names.manifest(job)))

    def steps(self) -> set[str]:
        """Return the steps of all segment messages."""
        return {str(document(push)["step"]) for push in self.topics.all(self.topics.segments)}
