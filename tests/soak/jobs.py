"""The jobs of a soak: dropped, watched until they end, and judged."""

import time
from dataclasses import dataclass

from google.api_core.exceptions import NotFound
from google.cloud import storage

from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.pipeline.storage import object_names
from defacer_emulator.chaos.subjects import hash_name
from defacer_emulator.emulator import Emulator
from defacer_emulator.jobs import JobReader
from defacer_emulator.terminal import Terminal
from tests.soak import judging
from tests.soak.clips import Sort


@dataclass
class Job:
    """`ended` is when it was seen to have ended, `None` before; times are seconds of the monotonic clock."""

    sort: Sort
    id: str
    source: str
    dropped: float
    ended: float | None = None
    segments: int = 0
    leaked: int = 0
    changed: str | None = None
    failed: Failed | None = None

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.dropped


class Silent(Terminal):
    """A terminal that is told nothing."""

    def print_line(self, line: str) -> None:
        pass


class Jobs:
    """All jobs of one soak on one emulator."""

    def __init__(self, emulator: Emulator):
        self._emulator = emulator
        self._client: storage.Client = emulator.storage_client()
        self._reader = JobReader(self._client, emulator.resources)
        self.all: list[Job] = []

    def prepare(self, sort: Sort) -> None:
        """Lay a sort's target and policy into its channel."""
        intake = self._client.bucket(self._emulator.intake)
        policy = f'{{"mode": "{sort.mode}"}}'
        intake.blob(object_names.policy(sort.channel)).upload_from_string(policy, "application/json")
        if sort.target is not None:
            name = object_names.targets_prefix(sort.channel) + sort.target.name
            intake.blob(name).upload_from_filename(str(sort.target))

    def drop(self, sort: Sort, name: str) -> Job:
        """Upload the sort's video under a name of its own."""
        source = object_names.VideoName(sort.channel, name).object_name
        blob = self._client.bucket(self._emulator.intake).blob(source)
        blob.upload_from_filename(str(sort.video))
        job = object_names.job_id(self._emulator.intake, source, int(blob.generation))
        self.all.append(Job(sort, job, source, time.monotonic()))
        return self.all[-1]

    def under_way(self) -> list[Job]:
        return [job for job in self.all if job.ended is None]

    def look(self) -> list[Job]:
        """Look at those that are under way; gives those that have just ended, judged."""
        return [job for job in self.under_way() if self._has_ended(job)]

    def _has_ended(self, job: Job) -> bool:
        view = self._reader.follow(job.id, job.source)
        job.segments = max(job.segments, view.segments)
        if not view.over:
            return False
        job.ended = time.monotonic()
        job.failed = view.failed
        self._judge(job, view)
        return True

    def _judge(self, job: Job, view: JobStatus) -> None:
        ref = view.published.result if view.published else None
        if ref is None:
            return
        # What is there now, whichever version that is: `duplicated` holds it against the one that was published.
        try:
            result = self._client.bucket(ref.bucket).blob(ref.name).download_as_bytes()
        except NotFound:
            job.changed = "the result is gone"
            return
        job.leaked = judging.leaked(job.sort, result)
        job.changed = judging.changed(job.sort.video, result)

    def duplicated(self, writes: dict[str, set[str]]) -> list[Job]:
        """The jobs that ended twice: published and failed, or with a result that was made more than once.

        `writes` are the versions that came into being in the output bucket, by the hash of the object's name.
        """
        return [job for job in self.all if self._ended_twice(job, writes)]

    def _ended_twice(self, job: Job, writes: dict[str, set[str]]) -> bool:
        view = self._reader.follow(job.id, job.source)
        video = object_names.parse_video(job.source)
        assert video is not None
        there = self._client.bucket(self._emulator.output).get_blob(video.result)
        versions = writes.get(hash_name(video.result), set()) | ({str(there.generation)} if there else set())
        if view.published is None:
            return bool(versions) and view.failed is not None
        assert view.published.result is not None
        return view.failed is not None or versions != {str(view.published.result.generation)}

    def left(self) -> list[str]:
        """What is there of jobs that have ended, but for how they were planned and how they ended."""
        over = [job.id for job in self.all if job.ended is not None]
        ends = (object_names.manifest, object_names.verdict, object_names.published, object_names.failed)
        stays = {end(job) for job in over for end in ends}
        prefixes = tuple(object_names.job_prefix(job) for job in over)
        names = [blob.name for blob in self._client.list_blobs(self._emulator.work, prefix="jobs/")]
        return [name for name in names if name.startswith(prefixes) and name not in stays]
