"""Bugs to put into the functions, each of which the model check has to see: without that it proves nothing."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from defacer.commands.privacy import erase
from defacer.dead_letter import handler
from defacer.ingest import plan_rerender
from defacer.merge import join_step, link_step
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Failed, Published, Verdict
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.lifecycle import cleanup, failure, finalize, job_state, lease, publishing, verdict
from defacer.pipeline.lifecycle.publishing import PublishedObject, PublishedVersion
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.storage import object_names, objects
from defacer.worker import detect_step, redact_step, segment_attempt
from tests.protocol.scenario import REPORT


class LeftToAnotherError(Exception):
    """Only here: answered with 200."""


Patch = pytest.MonkeyPatch
Mutation = Callable[[Patch], None]


def a_precondition_is_ignored(part_of_name: str) -> Mutation:
    """Whoever writes an object of such a name writes it over whatever is there."""

    def mutate(patch: Patch) -> None:
        replace = objects.replace

        def careless(bucket: str, name: str, data: Any, *args: Any, generation: int, **more: Any) -> Any:
            while True:
                if part_of_name in name:
                    there = objects.find(bucket, name)
                    generation = int(there.generation) if there else 0
                with suppress(objects.AlreadyWrittenError):
                    return replace(bucket, name, data, *args, generation=generation, **more)
                if part_of_name not in name:
                    return replace(bucket, name, data, *args, generation=generation, **more)

        patch.setattr(objects, "replace", careless)

    return mutate


def the_copy_ignores_its_precondition(patch: Patch) -> None:
    copy = objects.copy

    def careless(source: Any, bucket: str, name: str, *, generation: int, **more: Any) -> Any:
        there = objects.find(bucket, name)
        return copy(source, bucket, name, generation=int(there.generation) if there else 0, **more)

    patch.setattr(objects, "copy", careless)


def a_failure_asks_for_no_verdict(patch: Patch) -> None:
    def fail(job: str, stage: str, error: Any, source: Any = None) -> bool:
        found = job_state.find_manifest(job)
        source = found[0].source if found else source
        failure.record_failure(
            Failed(job=job, source=source, stage=stage, code=error.code, message=str(error))
        )
        return True

    patch.setattr(failure, "fail_job", fail)


def a_late_copy_stays(patch: Patch) -> None:
    """Of what was taken back while it was being copied."""
    carry_out, unpublish = finalize.apply_verdict.__globals__, finalize.unpublish

    def careless(names: Any) -> None:
        said = verdict.find(names.job)
        if said is None or said[0].state != "failing":
            unpublish(names)

    patch.setitem(carry_out, "unpublish", careless)


def the_made_result_is_not_deleted_before_a_withdrawal(patch: Patch) -> None:
    def delete(ref: ObjectRef) -> None:
        if not ref.name.startswith("jobs/"):
            objects.delete(ref)

    patch.setattr(finalize, "objects", _With(objects, "delete", delete))


def a_withdrawal_does_not_look_whether_the_result_is_out(patch: Patch) -> None:
    patch.setattr(
        finalize, "compare_with_published", lambda identity, name: PublishedObject(PublishedVersion.ABSENT)
    )


def published_is_written_whatever_the_verdict_says_by_then(patch: Patch) -> None:
    change = verdict.change

    def careless(said: Verdict, ref: Any, **changes: Any) -> None:
        change(said, ref, **changes)
        if changes["state"] == "published_pending":
            done = Published(
                job=said.job, result=changes["result"], report=REPORT, superseded=not changes["result"]
            )
            with suppress(objects.AlreadyWrittenError):
                objects.write_once("work", object_names.published(said.job), done.model_dump_json().encode())

    patch.setattr(verdict, "change", careless)


def a_foreign_report_only_withdraws(patch: Patch) -> None:
    """As it was: from there it went to and fro for ever if the result was out."""
    change = verdict.change

    def careless(said: Verdict, ref: Any, **changes: Any) -> None:
        if (said.state, changes["state"]) == ("publishing", "rolling_back"):
            changes["state"] = "rolling_back_pending"
        change(said, ref, **changes)

    patch.setattr(verdict, "change", careless)


def an_erased_job_is_cleaned_up_like_a_failed_one(patch: Patch) -> None:
    from_blobs = job_state.JobRecord.from_blobs
    careless = lambda job, blobs: replace(from_blobs(job, blobs), is_erased=False)  # noqa: E731
    patch.setattr(cleanup.JobRecord, "from_blobs", careless)


def a_result_is_not_looked_for_again_when_nobody_can_publish_it_any_more(patch: Patch) -> None:
    """By who erases: it looks once, while a merge may still be at the copy."""
    published_by, seen = erase._published_by, set[str]()

    def careless(job: str) -> Any:
        if job in seen:
            return ()
        seen.add(job)
        return published_by(job)

    patch.setattr(erase, "_published_by", careless)


def a_manifest_that_names_whose_pictures_are_gone_stays(patch: Patch) -> None:
    patch.setattr(cleanup, "names_forgotten_person", lambda job: False)


def an_older_upload_replaces_a_newer_one(patch: Patch) -> None:
    compare = publishing.compare_with_published

    def careless(identity: Any, name: str) -> PublishedObject:
        there = compare(identity, name)
        is_newer = there.version is PublishedVersion.NEWER
        return replace(there, version=PublishedVersion.OLDER) if is_newer else there

    patch.setattr(publishing, "compare_with_published", careless)
    patch.setattr(join_step, "compare_with_published", careless)


def what_was_written_with_the_same_bytes_counts_as_ours(patch: Patch) -> None:
    accept = objects._accept_own_write
    patch.setattr(objects, "_accept_own_write", lambda *args: accept(*args[:-1], None))


def a_late_worker_leaves_its_segment(patch: Patch) -> None:
    patch.setattr(redact_step, "failure", _With(failure, "finish_ended_job"))


def findings_are_not_looked_at_again_after_writing(patch: Patch) -> None:
    read_job = job_state.read_job

    def careless(job: str) -> job_state.JobRecord:
        record = read_job(job)
        if objects.list_all("work", object_names.segment_detections_prefix(job)):
            return replace(record, faces=None, published=None, failed=None)
        return record

    patch.setattr(detect_step, "job_state", _With(job_state, "read_job", careless))


class _With:
    """A module with another function in the place of one; by default it does nothing."""

    def __init__(self, module: Any, name: str, function: Callable[..., Any] = lambda *args: None):
        self._module = module
        self._name = name
        self._function = function

    def __getattr__(self, name: str) -> Any:
        return self._function if name == self._name else getattr(self._module, name)


def the_link_is_released_before_it_is_handed_on(patch: Patch) -> None:
    hand_on = link_step.dispatch_redaction

    def careless(manifest: Any, ref: Any, faces: Any) -> None:
        claim_ref = objects.find("work", object_names.link_lease(manifest.job))
        if claim_ref is not None:
            objects.delete(objects.reference(claim_ref))
        hand_on(manifest, ref, faces)

    patch.setattr(link_step, "dispatch_redaction", careless)


def a_task_that_was_not_published_is_forgotten(patch: Patch) -> None:
    publish = pubsub.publish

    def careless(*args: Any, **attributes: str) -> None:
        with suppress(RetryableError):
            publish(*args, **attributes)

    patch.setattr(pubsub, "publish", careless)


def a_message_is_acknowledged_while_another_one_s_holder_is_at_it(patch: Patch) -> None:
    """As it was until this check found that the other message may have been acknowledged too."""
    take = lease.HeldLease.acquire.__func__  # type: ignore[attr-defined]  # of a class method

    def careless(cls: Any, bucket: str, name: str, terms: lease.LeaseOptions) -> Any:
        try:
            return take(cls, bucket, name, terms)
        except RetryableError as error:
            if "for the message" in str(error) and not str(error).endswith(f" {terms.holder}"):
                raise LeftToAnotherError from error
            raise

    patch.setattr(lease.HeldLease, "acquire", classmethod(careless))


def a_lease_is_for_ever(patch: Patch) -> None:
    terms = segment_attempt.lease_options_for

    def endless(message_id: str) -> lease.LeaseOptions:
        return lease.LeaseOptions(message_id, 1e8, terms(message_id).deadline_seconds)

    for module in (segment_attempt, join_step, link_step, handler):
        patch.setattr(module, "lease_options_for", endless)


def a_given_up_job_is_left_alone(patch: Patch) -> None:
    patch.setattr(handler, "finalize", _With(finalize, "abort_job"))


def the_event_is_not_told_again(patch: Patch) -> None:
    """Of a failure whose teller died before telling."""
    announce = failure.announce_failure

    def finish(record: job_state.JobRecord) -> None:
        cleanup.clean_up(record.job)

    def announce_once(job: str) -> None:
        if job not in tried:
            tried.add(job)
            announce(job)

    tried: set[str] = set()
    patch.setattr(failure, "finish_ended_job", finish)
    patch.setattr(failure, "announce_failure", announce_once)


def embeddings_of_a_failed_job_stay(patch: Patch) -> None:
    patch.setattr(cleanup, "clean_up", lambda job: None)


def the_winding_up_is_left_out(patch: Patch) -> None:
    patch.setattr(join_step.finalize, "finalize", lambda manifest, published: None)


def a_job_is_taken_for_done_when_its_first_segment_is(patch: Patch) -> None:
    made = join_step.list_outputs_if_complete

    def careless(manifest: Any, step: str, index: int) -> Any:
        listed = objects.list_all("work", object_names.step_prefix(manifest.job, step))
        return (
            made(manifest, step, index) or tuple(ref for ref in listed if ref.name.endswith(".json")) or None
        )

    patch.setattr(join_step, "list_outputs_if_complete", careless)


def a_rendering_counts_as_old_as_its_upload(patch: Patch) -> None:
    patch.setattr(publishing, "request_generation", lambda identity: 0)


def a_late_rendering_leaves_its_faces(patch: Patch) -> None:
    patch.setattr(plan_rerender, "failure", _With(failure, "finish_ended_job"))


def the_state_is_read_once_a_delivery(patch: Patch) -> None:
    """A step that never reads the state again misses an erasure or a failure that lands while it works."""
    read_job = job_state.read_job
    by_delivery: WeakKeyDictionary[threading.Thread, dict[str, job_state.JobRecord]] = WeakKeyDictionary()

    def careless(job: str) -> job_state.JobRecord:
        records = by_delivery.setdefault(threading.current_thread(), {})
        if job not in records:
            records[job] = read_job(job)
        return records[job]

    patch.setattr(job_state, "read_job", careless)


# Each with where trouble has to come for it to show.
MUTATIONS: dict[str, tuple[Mutation, str | None]] = {
    "the verdict is written over": (a_precondition_is_ignored("/verdict.json"), "verdict"),
    "the manifest is written over": (a_precondition_is_ignored("/manifest.json"), "manifest"),
    "the faces are written over": (a_precondition_is_ignored("/faces.jsonl"), "write faces.jsonl"),
    **{
        mutation.__name__.replace("_", " "): (mutation, aim)
        for mutation, aim in {
            the_copy_ignores_its_precondition: "copy to",
            a_failure_asks_for_no_verdict: "copy to",
            the_made_result_is_not_deleted_before_a_withdrawal: "copy to",
            a_late_copy_stays: "copy to",
            a_withdrawal_does_not_look_whether_the_result_is_out: "copy to",
            published_is_written_whatever_the_verdict_says_by_then: "verdict",
            a_foreign_report_only_withdraws: "copy to",
            an_erased_job_is_cleaned_up_like_a_failed_one: None,
            a_result_is_not_looked_for_again_when_nobody_can_publish_it_any_more: None,
            a_manifest_that_names_whose_pictures_are_gone_stays: None,
            an_older_upload_replaces_a_newer_one: "copy to",
            what_was_written_with_the_same_bytes_counts_as_ours: "copy to",
            a_late_worker_leaves_its_segment: "segments/",
            findings_are_not_looked_at_again_after_writing: "write segment-detections/",
            the_link_is_released_before_it_is_handed_on: None,
            a_task_that_was_not_published_is_forgotten: "publish on",
            a_message_is_acknowledged_while_another_one_s_holder_is_at_it: None,
            a_lease_is_for_ever: "lease",
            a_given_up_job_is_left_alone: "",
            the_event_is_not_told_again: "publish on",
            embeddings_of_a_failed_job_stay: "",
            the_winding_up_is_left_out: "",
            a_job_is_taken_for_done_when_its_first_segment_is: "",
            a_rendering_counts_as_old_as_its_upload: "",
            a_late_rendering_leaves_its_faces: "faces.jsonl",
            the_state_is_read_once_a_delivery: "segments/",
        }.items()
    },
}
