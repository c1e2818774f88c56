"""Bugs to put into the functions. The model check has to detect each of them, otherwise it proves nothing."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from defacer.dead_letter import handler
from defacer.ingest import confirm_job, plan_rerender
from defacer.merge import join_step, link_step
from defacer.pipeline import admission, awaiting_review
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Failed, Published, Verdict
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.lifecycle import (
    cleanup,
    failure,
    finalize,
    job_state,
    lease,
    publishing,
    segments,
    step_marks,
    verdict,
)
from defacer.pipeline.lifecycle.publishing import PublishedObject, PublishedVersion
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.privacy import erase
from defacer.pipeline.storage import object_names, objects
from defacer.worker import detect_step, redact_step, segment_attempt
from tests.protocol.scenario import FACES, REPORT, WAITING_LIST


class AcknowledgedError(Exception):
    """Raised only by a mutation: the message is acknowledged."""


Patch = pytest.MonkeyPatch
Mutation = Callable[[Patch], None]


def ignore_preconditions(part_of_name: str) -> Mutation:
    """Return a mutation that overwrites objects with this in their name, whatever is there."""

    def mutate(patch: Patch) -> None:
        replace = objects.replace

        def patched(bucket: str, name: str, data: Any, *args: Any, generation: int, **more: Any) -> Any:
            while True:
                if part_of_name in name:
                    there = objects.find_blob(bucket, name)
                    generation = int(there.generation) if there else 0
                with suppress(objects.AlreadyWrittenError):
                    return replace(bucket, name, data, *args, generation=generation, **more)
                if part_of_name not in name:
                    return replace(bucket, name, data, *args, generation=generation, **more)

        patch.setattr(objects, "replace", patched)

    return mutate


def copy_ignores_its_precondition(patch: Patch) -> None:
    copy = objects.copy

    def patched(source: Any, bucket: str, name: str, *, generation: int, **more: Any) -> Any:
        there = objects.find_blob(bucket, name)
        return copy(source, bucket, name, generation=int(there.generation) if there else 0, **more)

    patch.setattr(objects, "copy", patched)


def failure_writes_no_verdict(patch: Patch) -> None:
    def fail(job: str, stage: str, error: Any, source: Any = None) -> bool:
        found = job_state.find_manifest(job)
        source = found[0].source if found else source
        failure.record_failure(
            Failed(job=job, source=source, stage=stage, code=error.code, message=str(error))
        )
        return True

    patch.setattr(failure, "fail_job", fail)


def late_copy_stays_published(patch: Patch) -> None:
    roll_back = publishing.roll_back_publication

    def patched(names: Any) -> None:
        said = verdict.find_verdict(names.job)
        if said is None or said[0].state != "failing":
            roll_back(names)

    patch.setattr(finalize, "roll_back_publication", patched)


def rollback_keeps_the_made_result(patch: Patch) -> None:
    def delete(ref: ObjectRef) -> None:
        if not ref.name.startswith("jobs/"):
            objects.delete(ref)

    patch.setattr(finalize, "objects", _PatchedModule(objects, "delete", delete))


def rollback_ignores_a_published_result(patch: Patch) -> None:
    patch.setattr(
        finalize, "compare_with_published", lambda identity, name: PublishedObject(PublishedVersion.ABSENT)
    )


def published_json_ignores_a_changed_verdict(patch: Patch) -> None:
    change = verdict.change_verdict

    def patched(said: Verdict, ref: Any, **changes: Any) -> None:
        change(said, ref, **changes)
        if changes["state"] == "published_pending":
            done = Published(
                job=said.job, result=changes["result"], report=REPORT, superseded=not changes["result"]
            )
            with suppress(objects.AlreadyWrittenError):
                objects.write_once("work", object_names.published(said.job), done.model_dump_json().encode())

    patch.setattr(verdict, "change_verdict", patched)


def foreign_report_starts_a_rollback_only(patch: Patch) -> None:
    """Roll back as dead_letter does. With a published result, the verdict would change back and forth without end."""
    change = verdict.change_verdict

    def patched(said: Verdict, ref: Any, **changes: Any) -> None:
        if (said.state, changes["state"]) == ("publishing", "rolling_back"):
            changes["state"] = "rolling_back_pending"
        change(said, ref, **changes)

    patch.setattr(verdict, "change_verdict", patched)


def erased_job_is_cleaned_up_like_a_failed_one(patch: Patch) -> None:
    from_blobs = job_state.JobRecord.from_blobs
    patched = lambda job, blobs: replace(from_blobs(job, blobs), is_erased=False)  # noqa: E731
    patch.setattr(job_state.JobRecord, "from_blobs", patched)


def erasure_lists_published_objects_only_once(patch: Patch) -> None:
    """List what an erased job has published only once, while a merge can still copy."""
    published_by, seen = erase._published_by, set[str]()

    def patched(job: str) -> Any:
        if job in seen:
            return ()
        seen.add(job)
        return published_by(job)

    patch.setattr(erase, "_published_by", patched)


def manifest_of_a_forgotten_person_stays(patch: Patch) -> None:
    patch.setattr(cleanup, "names_forgotten_person", lambda job: False)


def older_upload_replaces_a_newer_one(patch: Patch) -> None:
    compare = publishing.compare_with_published

    def patched(identity: Any, name: str) -> PublishedObject:
        there = compare(identity, name)
        is_newer = there.version is PublishedVersion.NEWER
        return replace(there, version=PublishedVersion.OLDER) if is_newer else there

    patch.setattr(publishing, "compare_with_published", patched)
    patch.setattr(join_step, "compare_with_published", patched)


def equal_bytes_count_as_the_own_write(patch: Patch) -> None:
    accept: Any = objects._accept_own_write
    patch.setattr(objects, "_accept_own_write", lambda *args: accept(*args[:-1], None))


def skip_read(module: ModuleType, part: str, name: str, number: int) -> Mutation:
    """Return a mutation without the `number`-th reading of a job's state in each delivery: it always answers no."""

    def mutate(patch: Patch) -> None:
        original = getattr(module, part)
        read = getattr(original, name)
        counts: WeakKeyDictionary[threading.Thread, int] = WeakKeyDictionary()

        def patched(*args: Any) -> Any:
            thread = threading.current_thread()
            counts[thread] = counts.get(thread, 0) + 1
            return counts[thread] != number and read(*args)

        patch.setattr(module, part, _PatchedModule(original, name, patched))

    return mutate


class _PatchedModule:
    """A module in which one function is replaced, by default by one that does nothing."""

    def __init__(self, module: Any, name: str, function: Callable[..., Any] = lambda *args: None):
        self._module = module
        self._name = name
        self._function = function

    def __getattr__(self, name: str) -> Any:
        return self._function if name == self._name else getattr(self._module, name)


def steps_are_marked_after_the_cleanup(patch: Patch) -> None:
    """A worker can write between the listing of the outputs and the mark, and find no mark afterwards."""
    mark = step_marks.mark_steps_over

    def wrap(clean: Callable[[str], None], *steps: str) -> Callable[[str], None]:
        def patched(job: str) -> None:
            clean(job)
            mark(job, *steps)

        return patched

    patch.setattr(step_marks, "mark_steps_over", lambda *args: None)
    patch.setattr(cleanup, "forget_embeddings", wrap(cleanup.forget_embeddings, "detect"))
    patch.setattr(cleanup, "clean_up", wrap(cleanup.clean_up, *step_marks.STEPS))


def link_lease_is_released_before_the_next_step(patch: Patch) -> None:
    start = link_step.start_next_step

    def patched(manifest: Any, ref: Any, faces: Any) -> None:
        lease_ref = objects.find_blob("work", object_names.link_lease(manifest.job))
        if lease_ref is not None:
            objects.delete(objects.reference(lease_ref))
        start(manifest, ref, faces)

    patch.setattr(link_step, "start_next_step", patched)


def finished_segment_of_a_dead_worker_has_no_next_task(patch: Patch) -> None:
    find = objects.find_blob

    def patched(bucket: str, name: str, *more: Any) -> Any:
        return None if object_names.is_lease(name) else find(bucket, name, *more)

    patched_objects = _PatchedModule(objects, "find_blob", patched)
    patch.setattr(segment_attempt, "objects", patched_objects)


def turn_of_an_ended_job_stays(patch: Patch) -> None:
    patch.setattr(cleanup, "_channel_of", lambda job: None)
    patch.setattr(confirm_job, "admission", _PatchedModule(admission, "repair_turns", list))


def clock_calls_no_upload(patch: Patch) -> None:
    """A process can die after it deleted its turn, before it called the next upload."""
    patch.setattr(confirm_job, "admission", _PatchedModule(admission, "repair_turns", list))


def confirmed_job_that_waits_for_its_turn_leaves_the_list(patch: Patch) -> None:
    def take(draft: Any, **more: bool) -> bool:
        has_turn = admission.take_turn(draft, **more)
        if not has_turn:
            awaiting_review.delete_entry(draft.job)
        return has_turn

    patch.setattr(confirm_job, "admission", _PatchedModule(admission, "take_turn", take))


def turn_of_a_rerender_names_its_video(patch: Patch) -> None:
    def take(draft: Any, **more: bool) -> bool:
        return admission.take_turn(draft.model_copy(update={"rerender": None}), **more)

    patch.setattr(plan_rerender, "admission", _PatchedModule(admission, "take_turn", take))


def embeddings_stay_while_a_job_waits(patch: Patch) -> None:
    patch.setattr(link_step, "cleanup", _PatchedModule(cleanup, "forget_embeddings"))


def waiting_job_is_not_listed(patch: Patch) -> None:
    patch.setattr(object_names, "waiting_entry", lambda job: f"jobs/{job}/waiting.json")


def entry_is_deleted_before_the_dispatch(patch: Patch) -> None:
    publish: Any = segments.publish_first_tasks

    def patched(manifest: Any, *refs: Any) -> None:
        awaiting_review.delete_entry(manifest.job)
        publish(manifest, *refs)

    patch.setattr(confirm_job, "publish_first_tasks", patched)


def end_of_a_wait_ignores_the_confirmation(patch: Patch) -> None:
    patch.setattr(confirm_job, "objects", _PatchedModule(objects, "find_blob"))


def end_of_a_wait_publishes_the_proposed_faces(patch: Patch) -> None:
    patch.setattr(confirm_job, "hide_unconfirmed", lambda document: document)


def merge_dispatches_the_faces_that_it_wrote(patch: Patch) -> None:
    """A person can have replaced them while the merge was paused."""
    find = job_state.find_stored_faces

    def patched(job: str) -> Any:
        stored = find(job)
        return stored and stored._replace(ref=stored.ref.model_copy(update={"generation": 1}))

    patch.setattr(link_step, "job_state", _PatchedModule(job_state, "find_stored_faces", patched))


def confirmed_job_is_not_dispatched_again(patch: Patch) -> None:
    resume, replace_faces, replaced = confirm_job._continue, confirm_job._replace_faces, set[str]()

    def replacing(faces: Any, document: bytes) -> None:
        replace_faces(faces, document)
        replaced.add(faces.ref.name)

    def continuing(found: Any) -> None:
        name = object_names.faces(found.document.job)
        if name in replaced:
            replaced.remove(name)
            resume(found)
        else:
            awaiting_review.delete_entry(found.document.job)

    patch.setattr(confirm_job, "_replace_faces", replacing)
    patch.setattr(confirm_job, "_continue", continuing)


def publishing_errors_are_ignored(patch: Patch) -> None:
    publish: Any = pubsub.publish

    def patched(*args: Any, **attributes: str) -> None:
        with suppress(RetryableError):
            publish(*args, **attributes)

    patch.setattr(pubsub, "publish", patched)


def message_is_acknowledged_while_another_holds_the_lease(patch: Patch) -> None:
    """The other message can have been acknowledged too: the model check found this bug."""
    take = lease.HeldLease.acquire.__func__  # type: ignore[attr-defined]  # of a class method

    def patched(cls: Any, bucket: str, name: str, terms: lease.LeaseOptions) -> Any:
        try:
            return take(cls, bucket, name, terms)
        except RetryableError as error:
            if "for the message" in str(error) and not str(error).endswith(f" {terms.holder}"):
                raise AcknowledgedError from error
            raise

    patch.setattr(lease.HeldLease, "acquire", classmethod(patched))


def lease_never_expires(patch: Patch) -> None:
    terms = lease.lease_options_for

    def endless(message_id: str) -> lease.LeaseOptions:
        return lease.LeaseOptions(message_id, 1e8, terms(message_id).deadline_seconds)

    for module in (segment_attempt, join_step, link_step, handler):
        patch.setattr(module, "lease_options_for", endless)


def exhausted_message_does_not_fail_its_job(patch: Patch) -> None:
    patch.setattr(handler, "finalize", _PatchedModule(finalize, "abort_job"))


def pending_failure_is_never_announced(patch: Patch) -> None:
    """The process that recorded the failure died before it announced it."""
    announce = failure.announce_failure

    def finish(job: str) -> None:
        cleanup.clean_up(job)

    def announce_once(job: str) -> None:
        if job not in tried:
            tried.add(job)
            announce(job)

    tried: set[str] = set()
    patch.setattr(failure, "finish_ended_job", finish)
    patch.setattr(failure, "announce_failure", announce_once)


def embeddings_of_a_failed_job_stay(patch: Patch) -> None:
    patch.setattr(cleanup, "clean_up", lambda job: None)


def published_job_is_not_finalized(patch: Patch) -> None:
    patch.setattr(finalize, "finalize", lambda manifest, published: None)


def job_counts_as_done_with_its_first_segment(patch: Patch) -> None:
    made = segments.list_outputs_if_complete

    def patched(job: str, step: str, count: int) -> Any:
        listed = objects.list_all("work", object_names.step_prefix(job, step))
        return made(job, step, count) or tuple(ref for ref in listed if ref.name.endswith(".json")) or None

    patch.setattr(join_step, "list_outputs_if_complete", patched)
    patch.setattr(join_step, "is_step_complete", lambda *args: True)


def rerender_counts_as_old_as_its_upload(patch: Patch) -> None:
    patch.setattr(publishing, "request_generation", lambda identity: 0)


# Each mutation, and the requests that faults have to hit so that it is detected.
MUTATIONS: dict[str, tuple[Mutation, str | None]] = {
    "verdict is overwritten": (ignore_preconditions("/verdict.json"), "verdict"),
    "manifest is overwritten": (ignore_preconditions("/manifest.json"), "manifest"),
    "two people confirm": (ignore_preconditions("/confirmations/"), FACES),
    "faces are overwritten": (ignore_preconditions("/faces.jsonl"), "write faces.jsonl"),
    "state is not read before detection": (skip_read(detect_step, "step_marks", "is_step_over", 1), None),
    "state is not read after detection": (
        skip_read(detect_step, "step_marks", "is_step_over", 2),
        "write segment-detections/",
    ),
    "state is not read before redaction": (skip_read(redact_step, "step_marks", "is_step_over", 1), None),
    "state is not read after redaction": (
        skip_read(redact_step, "step_marks", "is_step_over", 2),
        "write segments/",
    ),
    "state is not read before a re-render is planned": (
        skip_read(plan_rerender, "failure", "finish_if_over", 1),
        "",
    ),
    "state is not read after a re-render was planned": (
        skip_read(plan_rerender, "failure", "finish_if_over", 2),
        "write faces.jsonl",
    ),
    **{
        mutation.__name__.replace("_", " "): (mutation, aim)
        for mutation, aim in {
            copy_ignores_its_precondition: "copy to",
            failure_writes_no_verdict: "copy to",
            rollback_keeps_the_made_result: "copy to",
            late_copy_stays_published: "copy to",
            rollback_ignores_a_published_result: "copy to",
            published_json_ignores_a_changed_verdict: "verdict",
            foreign_report_starts_a_rollback_only: "copy to",
            erased_job_is_cleaned_up_like_a_failed_one: None,
            erasure_lists_published_objects_only_once: None,
            manifest_of_a_forgotten_person_stays: None,
            older_upload_replaces_a_newer_one: "copy to",
            equal_bytes_count_as_the_own_write: "copy to",
            link_lease_is_released_before_the_next_step: None,
            finished_segment_of_a_dead_worker_has_no_next_task: "publish on",
            turn_of_an_ended_job_stays: "turns/",
            clock_calls_no_upload: "turns/",
            confirmed_job_that_waits_for_its_turn_leaves_the_list: FACES,
            turn_of_a_rerender_names_its_video: "turns/",
            embeddings_stay_while_a_job_waits: FACES,
            waiting_job_is_not_listed: FACES,
            entry_is_deleted_before_the_dispatch: WAITING_LIST,
            end_of_a_wait_ignores_the_confirmation: FACES,
            end_of_a_wait_publishes_the_proposed_faces: FACES,
            merge_dispatches_the_faces_that_it_wrote: FACES,
            confirmed_job_is_not_dispatched_again: FACES,
            publishing_errors_are_ignored: "publish on",
            message_is_acknowledged_while_another_holds_the_lease: None,
            lease_never_expires: "lease",
            exhausted_message_does_not_fail_its_job: "",
            pending_failure_is_never_announced: "publish on",
            steps_are_marked_after_the_cleanup: "segment",
            embeddings_of_a_failed_job_stay: "",
            published_job_is_not_finalized: "",
            job_counts_as_done_with_its_first_segment: "",
            rerender_counts_as_old_as_its_upload: "",
        }.items()
    },
}
