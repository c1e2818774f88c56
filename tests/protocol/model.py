"""Run one interleaving of the functions' real code, over the storage and messaging of this folder."""

import json
import logging
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest
from werkzeug.exceptions import ServiceUnavailable

from defacer.dead_letter import handler
from defacer.ingest import confirm_job, plan_rerender
from defacer.ingest.plan_job import plan_upload_job
from defacer.merge.join_step import join_and_publish
from defacer.merge.link_step import link_and_dispatch
from defacer.pipeline import awaiting_review
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import job_state, lease, rerender_request
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of
from defacer.pipeline.messaging.pubsub import Message
from defacer.pipeline.privacy.erase import Subject, erase
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.report.edits import Edits
from defacer.worker.detect_step import detect_and_announce
from defacer.worker.redact_step import redact_and_announce
from tests.protocol.engine import SEGMENT_SECONDS, StandInEngine
from tests.protocol.invariants import INTAKE, OUTPUT, WORK, Upload, find_violations
from tests.protocol.memory import Client, Publisher, open_writer
from tests.protocol.mutations import AcknowledgedError
from tests.protocol.scenario import BUG, REPORT, RESULT, VIDEO, Scenario, draw
from tests.protocol.transitions import Transition, WatchedStorage
from tests.protocol.world import ERASING, UPLOADS, EndlessError, World

TARGET = "channels/street/targets/ada.jpg"
POLICY = "channels/street/policy.json"
LONG_SECONDS = 5000  # longer than any wait for a person


def stop_waiting(seconds: float) -> None:
    """End a command that waits for a lease. A person runs it again."""
    raise RetryableError("the lease is taken")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one interleaving. `violations` are sentences, and `trace` lists the steps that led to them.

    `transitions` are those that happened, each with the function that made it.
    """

    seed: int
    digest: bytes
    steps: int
    deliveries: int
    deliveries_in_peace: int
    counts: dict[str, int]
    published: int
    failed: dict[str, int]
    transitions: frozenset[tuple[Transition, str]]
    violations: list[str]
    trace: str = field(repr=False)


def check(seed: int, aim: str | None = None) -> Outcome:
    """Run the interleaving of this seed and check its outcome."""
    rng = random.Random(seed)
    return InterleavingRun(rng, draw(rng, aim)).check(seed)


class InterleavingRun:
    """An interleaving: its storage, its scheduler and its users."""

    def __init__(self, rng: random.Random, scenario: Scenario):
        self.scenario = scenario
        self.rng = rng
        versioned = frozenset({INTAKE} if scenario.versioned else ())
        self.storage = WatchedStorage(versioned=versioned, copies_slowly=scenario.slow_copies)
        self.world = World(scenario, rng, self.handle, self.act, self.choose_while_jobs_wait)
        self.storage.writer, self.storage.function = self.world.writer, self.world.function
        self.uploads: list[Upload] = []
        self.erased: set[str] = set()
        self.did_erase: set[str] = set()
        self.unexpected: list[str] = []
        self.engine = StandInEngine(self.nonce)
        self.nonces = 0

    def check(self, seed: int) -> Outcome:
        with self.patched():
            self.prepare()
            violations = []
            try:
                self.world.run()
            except EndlessError as error:
                violations = [str(error)]
        violations += self.unexpected or find_violations(
            self.scenario, self.storage, self.uploads, self.world, self.erased
        )
        failed: dict[str, int] = {}
        for name in self.storage.names(WORK):
            if name.endswith("/failed.json"):
                code = json.loads(self.storage.get(WORK, name).data)["code"]
                failed[code] = failed.get(code, 0) + 1
        return Outcome(
            seed=seed,
            digest=self.world.digest(),
            steps=self.world.step,
            deliveries=self.world.deliveries,
            deliveries_in_peace=self.world.deliveries_in_peace,
            counts=self.world.counts,
            published=sum(name.endswith("/published.json") for name in self.storage.names(WORK)),
            failed=failed,
            transitions=frozenset(self.storage.transitions),
            violations=violations,
            trace="" if not violations else self.describe(),
        )

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Replace storage, messaging, clocks and random numbers by the model's."""
        client = Client(self.storage, self.world.gate)
        publisher = Publisher(self.world.send, self.world.gate)
        environment = {
            "project": "model", "intake_bucket": INTAKE, "work_bucket": WORK, "output_bucket": OUTPUT,
            "segment_seconds": SEGMENT_SECONDS,
            "max_timeouts": self.scenario.max_timeouts,
            "channel_segments": self.scenario.channel_segments,
            "max_segment_attempts": self.scenario.segment_attempts,
        }  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(f"DEFACER_{name.upper()}", str(value))
            patch.setattr(objects, "client", lambda: client)
            patch.setattr(objects, "retries", lambda: None)
            patch.setattr(objects, "_BlobWriter", open_writer)
            patch.setattr(pubsub, "publisher", lambda: publisher)
            patch.setattr("google.pubsub_v1.PublisherClient", Publisher)
            patch.setattr(lease, "datetime", self.world)
            patch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=self.rng.getrandbits(128)))
            patch.setattr(time, "monotonic", self.world.monotonic)
            patch.setattr(time, "sleep", stop_waiting)
            patch.setattr(random, "shuffle", self.rng.shuffle)
            if not self.scenario.requeues:
                patch.setattr(handler, "MAX_TASK_REQUEUES", 0)
                patch.setattr(handler, "MAX_OTHER_REQUEUES", 0)
            patch.setattr(logging.getLogger("defacer"), "disabled", True)
            settings.cache_clear()
            try:
                yield
            finally:
                settings.cache_clear()

    def prepare(self) -> None:
        policy = {
            "source_retention": "delete" if self.scenario.delete_source else "keep",
            "confirm": "before_publish" if self.scenario.confirm_seconds else "never",
            "confirm_hours": (self.scenario.confirm_seconds or 3600) / 3600,
            "on_timeout": "publish_hidden" if self.scenario.publish_hidden else "fail",
        }
        self.storage.put(INTAKE, POLICY, json.dumps(policy).encode())
        if self.scenario.targets:
            self.storage.put(INTAKE, TARGET, b"a face")
        self.act("upload")

    def act(self, action: str) -> None:
        """Carry out the action of a user."""
        if action == "upload":
            clip = self.scenario.clips[sum(upload.of is None for upload in self.uploads)]
            stored = self.storage.put(INTAKE, VIDEO, clip.to_bytes())
            self.add_upload(Upload(VIDEO, stored.generation, clip))
        elif action == "rerender":
            self.request_rerender()
        elif action == "delete the source":
            self.storage.objects.pop((INTAKE, VIDEO), None)
        elif action == "another target":
            self.storage.put(INTAKE, TARGET.replace("ada", "bob"), b"another face")
        elif action == "remove the target":
            self.storage.objects.pop((INTAKE, TARGET), None)
        elif action == "a foreign result" and (OUTPUT, RESULT) not in self.storage.objects:
            self.storage.put(OUTPUT, RESULT, b"somebody else's")
        elif action == "a foreign report":  # over the job's own, too
            self.storage.put(OUTPUT, REPORT, b"somebody else's")
        elif action == "confirm":
            self.confirm_waiting_jobs()
        elif action == "confirm at the last moment":
            self.confirm_waiting_jobs()
            self.world.seconds += LONG_SECONDS
            self.act("clock")
        elif action == "clock":
            self.world.send(UPLOADS, b"{}", {pubsub.TYPE: pubsub.REVIEW_CHECK})
        elif action.startswith("erase"):
            videos = [upload for upload in self.uploads if upload.of is None]
            upload = videos[min(int(action.split(" ")[1]), len(videos) - 1)]
            self.erased.add(upload.job)
            self.world.send(ERASING, upload.job.encode(), {})

    def add_upload(self, upload: Upload) -> None:
        self.uploads.append(upload)
        self.notify(upload.name, upload.generation)

    def notify(self, name: str, generation: int) -> None:
        """Send the notification of Cloud Storage about an object of the intake bucket."""
        attributes = {
            "bucketId": INTAKE, "objectId": name, "objectGeneration": str(generation),
            "eventType": "OBJECT_FINALIZE",
        }  # fmt: skip
        self.world.send(UPLOADS, b"{}", attributes)

    def confirm_waiting_jobs(self) -> None:
        """Confirm each job, as two people do. Nothing happens if a job does not wait."""
        for upload in [upload for upload in self.uploads if upload.of is None]:
            with self.world.as_a_user():
                if sum(self.confirm(upload) for _ in range(2)) > 1:
                    self.unexpected.append(f"two people confirmed job {upload.generation}")

    def confirm(self, upload: Upload) -> bool:
        """Confirm the job, and return whether that succeeded."""
        try:
            awaiting_review.confirm(upload.job, Edits({0: "keep"}))
        except PermanentError:
            return False
        name = object_names.ConfirmationName("street", upload.job).object_name
        self.notify(name, self.storage.get(INTAKE, name).generation)
        return True

    def choose_while_jobs_wait(self) -> str | None:
        """Return the next action while a job waits for a person or for its turn: the clock never stops."""
        if not self.storage.names(WORK, object_names.WAITING):
            return "clock" if self.storage.names(WORK, object_names.TURNS) else None
        return self.rng.choice(("confirm", "confirm at the last moment", "clock", "clock"))

    def request_rerender(self) -> None:
        """Request a re-render of the newest upload. Nothing happens if that upload is not published."""
        video = max((upload for upload in self.uploads if upload.of is None), key=lambda upload: upload.age)
        with self.world.as_a_user(), suppress(PermanentError):
            rerender_request.request_rerender(video.job, Edits(decisions={len(self.uploads): "keep"}))
            name = object_names.RerenderName("street", video.job).object_name
            self.add_upload(Upload(name, self.storage.get(INTAKE, name).generation, video.clip, video))

    def nonce(self) -> str:
        self.nonces += self.scenario.engine_differs
        return str(self.nonces or "")

    def _erase(self, job: str) -> None:
        """Run the command. A command that finds nothing does not count: ingest can still write the job."""
        removed: list[ObjectRef] = []
        erase(Subject(job=job), removed.append, lambda text: None)
        mark = self.storage.objects.get((WORK, object_names.failed(job)))
        if removed or (mark is not None and "erased" in (mark.metadata or {})):
            self.did_erase.add(job)
        # Several commands can run at once, if one was paused: the findings of all of them count.
        (self.erased.add if job in self.did_erase else self.erased.discard)(job)

    def handle(self, function: str, message: Message) -> bool:
        """Call the function, and return whether it acknowledges the message."""
        job = _job_of(function, message)
        had_ended = job is not None and self.has_ended(job)
        try:
            with http_status_of(function):
                try:
                    self.call(function, message)
                    if job is not None:
                        self.require_no_late_output(job)
                except RetryableError as error:
                    # The code of a bug says nothing about the work: the bug can be in the cleanup of an ended job.
                    cause = error.__cause__
                    is_late_work = (
                        isinstance(cause, PermanentError) and cause.code != ErrorCode.INTERNAL_ERROR
                    )
                    if had_ended and is_late_work:
                        self.unexpected.append(
                            f"{function} works on {message.id} of a job that is over: {error}"
                        )
                    raise
                except AcknowledgedError:
                    return True
                except PermanentError as error:
                    self.unexpected.append(f"{function} drops {message.id}: {error}")
                    raise
                except Exception as error:
                    if error.args == (BUG,):  # outside a job, or while another bug was recorded
                        raise
                    self.unexpected.append(f"{function} does not expect {type(error).__name__}: {error}")
                    raise
        except ServiceUnavailable:
            return False
        return True

    def call(self, function: str, message: Message) -> None:
        """Call the function as its `main.py` does, with the stand-in engine."""
        if function == "ingest":
            self.call_ingest(message)
        elif function == "worker":
            task = pubsub.parse_message(message, SegmentTask)
            if task.step == "detect":
                detect_and_announce(task, message.id, self.engine)
            else:
                redact_and_announce(task, message.id, self.engine)
        elif function == "merge":
            done = pubsub.parse_message(message, SegmentDone)
            if done.step == "detect":
                link_and_dispatch(done, message.id, self.engine)
                self.require_no_embeddings_while_waiting(done.job)
            else:
                join_and_publish(done, message.id, self.engine)
        elif function == "erase":
            try:
                self._erase(message.data.decode())
            except PermanentError as error:  # new objects arrived in every round
                raise RetryableError(str(error)) from error
        else:
            handler.handle_dead_letter(message)

    def call_ingest(self, message: Message) -> None:
        if message.attributes.get(pubsub.TYPE) == pubsub.REVIEW_CHECK:
            confirm_job.end_waits(self.engine, message.attributes.get(pubsub.JOB, ""))
            return
        source = pubsub.parse_upload(message)
        assert source is not None
        if object_names.parse_confirmation(source.name):
            confirm_job.apply_confirmation(source, self.engine)
        elif object_names.parse_rerender(source.name):
            plan_rerender.plan_rerender_job(source, self.engine)
        else:
            plan_upload_job(source, self.engine)

    def has_ended(self, job: str) -> bool:
        """Return whether a job has failed or was published, and was cleaned up after. An erasure does not count."""
        stored = self.storage.objects.get
        failed = stored((WORK, object_names.failed(job)))
        if failed is not None:
            return set(failed.metadata or {}) == {"announced"}
        is_published = stored((WORK, object_names.published(job))) is not None
        return is_published and stored((WORK, object_names.merge_lease(job))) is None

    def require_no_late_output(self, job: str) -> None:
        """Record a violation if a delivery leaves its output in a job that was cleaned up before it was written."""
        stored = self.storage.objects
        is_dispatched = (WORK, object_names.faces(job)) in stored and (
            WORK,
            object_names.link_lease(job),
        ) not in stored
        useless = [object_names.segment_detections_prefix(job)] if is_dispatched else []
        if self.has_ended(job):
            useless += [object_names.segments_prefix(job), object_names.faces(job)]
        for output in self.storage.with_prefix(WORK, object_names.job_prefix(job)):
            is_useless = output.name.startswith(tuple(useless)) and not output.name.endswith(".split")
            if is_useless and output.writer == self.world.writer():
                self.unexpected.append(f"a delivery leaves {output.name}, which no step needs any more")

    def require_no_embeddings_while_waiting(self, job: str) -> None:
        """Record a violation if a job begins to wait for a person before its gallery was deleted."""
        faces = self.storage.objects.get((WORK, object_names.faces(job)))
        manifest = self.storage.objects.get((WORK, object_names.manifest(job)))
        waits = faces is not None and job_state.parse_review_end(faces.metadata or {}) is not None
        if waits and manifest and (WORK, object_names.link_lease(job)) not in self.storage.objects:
            gallery = Manifest.model_validate_json(manifest.data).gallery
            if gallery is not None and (WORK, gallery.name) in self.storage.objects:
                self.unexpected.append(f"job {job} waits for a person, and its gallery is left")

    def describe(self) -> str:
        lines = [f"{self.scenario}"]
        lines += [f"{step:5} {who:24} {what}  {trouble}" for step, who, what, trouble in self.world.trace]
        lines += [f"left: {bucket}/{name}" for bucket, name in sorted(self.storage.objects)]
        return "\n".join(lines)


def _job_of(function: str, message: Message) -> str | None:
    """Return the job of a message to ingest, worker or merge; None for other messages."""
    if function == "ingest" and message.attributes.get(pubsub.TYPE) != pubsub.REVIEW_CHECK:
        source = pubsub.parse_upload(message)
        confirmed = object_names.parse_confirmation(source.name) if source else None
        return confirmed.job if confirmed else object_names.job_of(source) if source else None
    if function in ("worker", "merge"):
        return str(json.loads(message.data)["job"])
    return None
