"""Jobs that wait for a person: how the wait begins, and each of its ends."""

import io
import json
from functools import partial
from pathlib import Path

import pytest

from defacer.commands.app import main
from defacer.ingest import confirm_job
from defacer.ingest.engine_adapter import IngestEngine
from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.link_step import link_and_dispatch
from defacer.pipeline import admission, awaiting_review
from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle.job_state import JobState
from defacer.pipeline.media_engine import LinkedFaces, LinkInput
from defacer.pipeline.privacy.erase import Subject, erase
from defacer.pipeline.storage import object_names, objects
from defacer.report.edits import Edits
from tests.cloud import Buckets, Post, Topics, upload_push
from tests.functions.linking import embeddings
from tests.functions.merging import expire_lease
from tests.functions.records import failure_of
from tests.functions.rendering import EILEEN
from tests.functions.reviewing import (
    CHECK,
    Waiting,
    let_time_pass,
    plan_waiting_job,
    proposed_faces,
    waiting_policy,
)
from tests.functions.test_dead_letter import dead_letter_of
from tests.media_engines import with_operations
from tests.planned import VIDEO, Planned, find_all_segments
from tests.proxy import Proxy

MAX_REQUESTS = 40


def link(buckets: Buckets, planned: Planned, message_id: str = "1") -> None:
    """Link the job as merge does, with three proposed tracks."""

    def propose(job: LinkInput) -> LinkedFaces:
        faces = proposed_faces(planned)
        return LinkedFaces(faces.frames, faces.sampled_frames, len(faces.tracks), faces.to_bytes())

    link_and_dispatch(planned.segment_done(0), message_id, with_operations(MergeEngine(), link=propose))


@pytest.fixture
def waiting(buckets: Buckets, topics: Topics, clip: Path, request: pytest.FixtureRequest) -> Waiting:
    """A job that waits for a person, by default with `on_timeout: fail`."""
    planned = plan_waiting_job(buckets, clip, waiting_policy(getattr(request, "param", "fail")))
    find_all_segments(buckets, planned)
    link(buckets, planned)
    return Waiting(buckets, topics, planned)


PUBLISH_HIDDEN = pytest.mark.parametrize("waiting", ["publish_hidden"], indirect=True)


def assert_failed(waiting: Waiting, code: str, stage: str = "ingest") -> Failed:
    """Assert that the job failed, has published nothing, and left nothing in the list."""
    failed = failure_of(waiting.buckets, waiting.job)
    assert (failed.stage, failed.code) == (stage, code)
    assert waiting.tasks() == []
    assert waiting.buckets.names(waiting.buckets.output) == []
    assert object_names.faces(waiting.job) not in waiting.buckets.names(waiting.buckets.work)
    assert waiting.topics.events()[-1]["type"] == "job.failed"
    return failed


def test_linked_job_waits_without_embeddings(waiting: Waiting) -> None:
    assert waiting.state is JobState.WAITING_FOR_REVIEW
    assert waiting.tasks() == []
    assert embeddings(waiting.buckets, waiting.planned) == []
    assert waiting.is_listed()
    assert waiting.decisions() == [("keep", "matched"), ("hide", "no_match"), ("hide", "no_match")]
    (event,) = waiting.topics.events()
    assert (event["type"], event["id"]) == ("job.waiting", f"{waiting.job}-waiting")
    assert event["data"]["review_end"].endswith("Z")


def test_redelivery_to_merge_changes_nothing_while_a_job_waits(waiting: Waiting, merge: Post) -> None:
    before = waiting.buckets.names(waiting.buckets.work)
    assert merge(waiting.planned.done(1, "2")) == 200
    assert waiting.buckets.names(waiting.buckets.work) == before
    assert waiting.tasks() == []


def test_confirmation_applies_its_decisions_and_dispatches(waiting: Waiting, ingest: Post) -> None:
    message = waiting.confirm(track1="keep")
    assert waiting.state is JobState.WAITING_FOR_REVIEW
    assert ingest(message) == 200
    waiting.assert_dispatched()
    assert waiting.decisions() == [("keep", "matched"), ("keep", "manual"), ("hide", "no_match")]


def test_confirmation_without_changes_dispatches_the_proposal(waiting: Waiting, ingest: Post) -> None:
    assert ingest(waiting.confirm()) == 200
    waiting.assert_dispatched()
    assert waiting.decisions()[0] == ("keep", "matched")


def test_redelivered_confirmation_repeats_an_unfinished_dispatch_only(waiting: Waiting, ingest: Post) -> None:
    message, segments = waiting.confirm(track1="keep"), len(waiting.planned.manifest.segments)
    assert (ingest(message), ingest(message)) == (200, 200)
    waiting.assert_dispatched()
    assert len(waiting.tasks()) == segments
    # As after a crash before the job left the list.
    waiting.buckets.put(waiting.buckets.work, object_names.waiting_entry(waiting.planned.job), b"")
    assert ingest(message) == 200
    assert len(waiting.tasks()) == 2 * segments


def test_tick_without_time_for_all_waiting_jobs_repairs_the_turns(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    repaired: list[bool] = []
    monkeypatch.setattr(confirm_job, "MAX_SECONDS", -1.0)
    monkeypatch.setattr(admission, "repair_turns", lambda: repaired.append(True) or [])
    confirm_job.end_waits(IngestEngine())
    assert (waiting.state, repaired) == (JobState.WAITING_FOR_REVIEW, [True])


@pytest.mark.parametrize("is_confirmed", [False, True])
@pytest.mark.parametrize("is_deleted", [False, True])
def test_waiting_job_without_a_readable_manifest_fails(
    is_confirmed: bool, is_deleted: bool, waiting: Waiting, ingest: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lifecycle rule of the work bucket can delete a manifest."""
    if is_confirmed:
        with monkeypatch.context() as patch:
            patch.setattr(admission, "take_turn", lambda *_, **__: False)
            assert ingest(waiting.confirm()) == 200
    name = object_names.manifest(waiting.job)
    if is_deleted:
        objects.delete_any(waiting.buckets.work, name)
    else:
        waiting.buckets.put(waiting.buckets.work, name, b"{}")
    assert ingest(CHECK) == 200
    failed = failure_of(waiting.buckets, waiting.job)
    assert (failed.code, failed.source) == ("object-gone", waiting.planned.manifest.source)
    assert not waiting.is_listed()


@pytest.mark.parametrize("second", ["before ingest", "after ingest"])
def test_second_person_is_refused(second: str, waiting: Waiting, ingest: Post) -> None:
    message = waiting.confirm(track1="keep")
    if second == "after ingest":
        assert ingest(message) == 200
    with pytest.raises(PermanentError, match=r"already confirmed|does not wait") as raised:
        waiting.confirm(track1="keep")
    assert raised.value.code == "not-waiting"


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        ("unknown track", "bad-decisions"),
        ("too late", "review-timeout"),
        ("picture deleted", "target-gone"),
        ("source deleted", "source-gone"),
        ("newer upload published", "result-changed"),
        ("no such job", "not-waiting"),
    ],
)
def test_confirmation_that_cannot_count_is_refused(
    problem: str, code: str, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets, job = waiting.buckets, waiting.job
    if problem == "too late":
        let_time_pass(monkeypatch)
    elif problem == "picture deleted":
        buckets.client.bucket(buckets.intake).blob(EILEEN).delete()
    elif problem == "source deleted":
        buckets.client.bucket(buckets.intake).blob(VIDEO).delete()
    elif problem == "newer upload published":
        blob = buckets.client.bucket(buckets.output).blob(waiting.planned.manifest.result)
        newer = str(waiting.planned.manifest.source.generation + 1)
        blob.metadata = {"defacer-job": "0" * 20, "defacer-source": VIDEO, "defacer-source-generation": newer}
        blob.upload_from_string(b"newer")
    elif problem == "no such job":
        job = "0" * 20
    with pytest.raises(PermanentError) as raised:
        awaiting_review.confirm(job, Edits({7: "hide"} if problem == "unknown track" else {}))
    assert raised.value.code == code
    assert waiting.confirmation not in buckets.names(buckets.intake)


def test_person_without_picture_can_be_confirmed_as_hidden(waiting: Waiting, ingest: Post) -> None:
    waiting.buckets.client.bucket(waiting.buckets.intake).blob(EILEEN).delete()
    assert ingest(waiting.confirm(track0="hide")) == 200
    waiting.assert_dispatched()
    assert {decision for decision, _ in waiting.decisions()} == {"hide"}


def test_picture_deleted_after_the_confirmation_fails_the_job(waiting: Waiting, ingest: Post) -> None:
    message = waiting.confirm()
    waiting.buckets.client.bucket(waiting.buckets.intake).blob(EILEEN).delete()
    assert ingest(message) == 200
    assert_failed(waiting, "target-gone")


def test_unreadable_confirmation_fails_the_job(waiting: Waiting, ingest: Post) -> None:
    ref = waiting.buckets.put(waiting.buckets.intake, waiting.confirmation, b"{}")
    assert ingest(upload_push(ref)) == 200
    failed = assert_failed(waiting, "bad-request")
    assert "its confirmation can't be read" in failed.message


def test_confirmation_in_another_channel_is_ignored(
    waiting: Waiting, ingest: Post, dead_letter: Post
) -> None:
    name = object_names.ConfirmationName("elsewhere", waiting.job).object_name
    data = json.dumps({"job": waiting.job, "token": "t", "edits": {"decisions": {"1": "keep"}}}).encode()
    message = upload_push(waiting.buckets.put(waiting.buckets.intake, name, data))
    assert ingest(message) == 200
    assert dead_letter(dead_letter_of(message)) == 200
    assert waiting.state is JobState.WAITING_FOR_REVIEW
    assert waiting.tasks() == []


def test_exhausted_confirmation_fails_the_job(waiting: Waiting, dead_letter: Post) -> None:
    message = waiting.confirm()
    assert dead_letter(dead_letter_of(message)) == 200
    assert_failed(waiting, "exhausted")


def test_clock_does_nothing_before_the_limit(waiting: Waiting, ingest: Post, dead_letter: Post) -> None:
    before = waiting.buckets.names(waiting.buckets.work)
    assert (ingest(CHECK), dead_letter(dead_letter_of(CHECK))) == (200, 200)
    assert waiting.buckets.names(waiting.buckets.work) == before


def test_job_fails_at_the_limit(waiting: Waiting, ingest: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    let_time_pass(monkeypatch)
    assert (ingest(CHECK), ingest(CHECK)) == (200, 200)
    failed = assert_failed(waiting, "review-timeout")
    assert "within 2 h" in failed.message
    assert not waiting.is_listed()
    assert failed.code.can_try_again


@PUBLISH_HIDDEN
def test_unconfirmed_people_are_hidden_at_the_limit(
    waiting: Waiting, ingest: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_time_pass(monkeypatch)
    assert ingest(CHECK) == 200
    waiting.assert_dispatched()
    assert waiting.decisions() == [("hide", "not_confirmed"), ("hide", "no_match"), ("hide", "no_match")]
    assert waiting.faces().tracks[0].person is None


def test_clock_applies_a_confirmation_whose_message_is_late(
    waiting: Waiting, ingest: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting.confirm(track1="keep")
    let_time_pass(monkeypatch)
    assert ingest(CHECK) == 200
    waiting.assert_dispatched()
    assert waiting.decisions()[1] == ("keep", "manual")


def test_erase_leaves_nothing_of_a_waiting_job(waiting: Waiting, ingest: Post) -> None:
    message = waiting.confirm()
    erase(Subject(job=waiting.job), lambda ref: None, lambda text: None)
    assert waiting.buckets.names(waiting.buckets.work) == [object_names.failed(waiting.job)]
    assert waiting.buckets.names(waiting.buckets.intake) == [EILEEN]
    assert (ingest(message), ingest(CHECK)) == (200, 200)
    assert waiting.buckets.names(waiting.buckets.work) == [object_names.failed(waiting.job)]


@pytest.mark.parametrize("confirmed", [False, True], ids=["unconfirmed", "confirmed"])
def test_forget_fails_a_waiting_job(confirmed: bool, waiting: Waiting, ingest: Post) -> None:
    message = waiting.confirm() if confirmed else CHECK
    assert main(["person", "forget", "Eileen", "--channel", "street", "--yes"]) == 0
    assert ingest(message) == 200
    assert_failed(waiting, "person-forgotten", "forget")


@pytest.mark.parametrize("applied", [False, True], ids=["not applied", "applied"])
def test_forget_finds_a_name_that_the_confirmation_gave(
    applied: bool, waiting: Waiting, ingest: Post
) -> None:
    """The manifest does not have this name: its picture was saved during the review."""
    buckets = waiting.buckets
    buckets.put(buckets.intake, "channels/street/targets/Bo.png", b"a picture")
    awaiting_review.confirm(waiting.job, Edits(decisions={1: "keep"}, people={1: "Bo"}))
    if applied:
        assert ingest(waiting.confirmation_message()) == 200
        assert waiting.faces().tracks[1].person == "Bo"
    message = waiting.confirmation_message()
    assert main(["person", "forget", "Bo", "--channel", "street", "--yes"]) == 0
    assert waiting.confirmation not in buckets.names(buckets.intake)
    assert ingest(message) == 200
    failed = failure_of(buckets, waiting.job)
    assert failed.code == ("person-forgotten" if applied else "bad-request")
    assert object_names.faces(waiting.job) not in buckets.names(buckets.work)


def test_newer_upload_does_not_end_the_wait(waiting: Waiting, ingest: Post) -> None:
    """The older job ends at its limit, or publishes nothing if the newer one is published first."""
    waiting.buckets.put(waiting.buckets.intake, VIDEO, b"a newer upload")
    assert ingest(CHECK) == 200
    assert waiting.state is JobState.WAITING_FOR_REVIEW


def test_confirmation_before_the_linking_is_applied_by_the_clock(
    buckets: Buckets, topics: Topics, clip: Path, ingest: Post
) -> None:
    planned = plan_waiting_job(buckets, clip, waiting_policy())
    waiting = Waiting(buckets, topics, planned)
    data = json.dumps({"job": planned.job, "token": "t", "edits": {"decisions": {"2": "keep"}}}).encode()
    ref = buckets.put(buckets.intake, waiting.confirmation, data)
    assert ingest(upload_push(ref)) == 200
    find_all_segments(buckets, planned)
    link(buckets, planned)
    assert waiting.state is JobState.WAITING_FOR_REVIEW
    assert ingest(CHECK) == 200
    waiting.assert_dispatched()
    assert waiting.decisions()[2] == ("keep", "manual")


def test_commands_list_the_proposal_and_confirm_it(
    waiting: Waiting, ingest: Post, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["job", "status", waiting.job, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["state"], status["outcome"]) == ("waiting_for_review", None)
    assert status["review_end"]
    assert main(["job", "status", waiting.job]) == 0
    shown = capsys.readouterr().out
    assert f"job confirm {waiting.job}" in shown
    assert "UTC. After that, the job fails and nothing is published. To confirm" in shown
    assert main(["job", "rerender", waiting.job]) == 1
    assert "its job waits until a person confirms who stays visible" in capsys.readouterr().err
    assert main(["job", "confirm", waiting.job]) == 0
    listed = capsys.readouterr()
    assert len(listed.out.splitlines()) == 4
    assert "UTC. After that, the job fails and nothing is published." in listed.err
    assert "--yes" in listed.err
    assert main(["job", "confirm", waiting.job, "--json"]) == 0
    tracks = json.loads(capsys.readouterr().out)["tracks"]
    assert [track["decision"] for track in tracks] == ["keep", "hide", "hide"]
    assert main(["job", "confirm", waiting.job, "--hide", "0", "--keep", "2", "--yes"]) == 0
    assert capsys.readouterr().out.strip() == waiting.job
    assert ingest(waiting.confirmation_message()) == 200
    assert [decision for decision, _ in waiting.decisions()] == ["hide", "hide", "keep"]
    assert main(["job", "confirm", waiting.job, "--yes"]) == 1
    assert "does not wait for a review" in capsys.readouterr().err


def test_command_without_an_answer_confirms_nothing(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    assert main(["job", "confirm", waiting.job, "--keep", "1"]) == 1
    assert "walk.mp4 will be published with 2 tracks kept and 1 hidden." in capsys.readouterr().err
    assert waiting.confirmation not in waiting.buckets.names(waiting.buckets.intake)


def count_requests_until(works: Post, message: object, proxy: Proxy) -> int:
    """Let a delivery crash before its first, second, ... request until one succeeds, and return their number."""
    for number in range(1, MAX_REQUESTS):
        crash = partial(is_after, proxy, len(proxy.requests) + number)
        with proxy.failing(crash):
            status = works(message)
        if status == 200:
            return number
    raise AssertionError(f"no delivery succeeded in {MAX_REQUESTS} attempts")


def is_after(proxy: Proxy, number: int, method: str, path: str) -> bool:
    return len(proxy.requests) >= number


def test_confirmation_continues_after_a_crash_at_any_request(
    buckets: Buckets, proxy: Proxy, topics: Topics, clip: Path, ingest: Post
) -> None:
    planned = plan_waiting_job(buckets, clip, waiting_policy())
    find_all_segments(buckets, planned)
    link(buckets, planned)
    waiting = Waiting(buckets, topics, planned)
    assert count_requests_until(ingest, waiting.confirm(track1="keep"), proxy) > 8
    waiting.assert_dispatched()
    assert waiting.decisions()[1] == ("keep", "manual")


@pytest.mark.parametrize("on_timeout", ["fail", "publish_hidden"])
def test_end_of_a_wait_continues_after_a_crash_at_any_request(
    on_timeout: str, buckets: Buckets, proxy: Proxy, topics: Topics, clip: Path, ingest: Post,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    planned = plan_waiting_job(buckets, clip, waiting_policy(on_timeout))  # type: ignore[arg-type]
    find_all_segments(buckets, planned)
    link(buckets, planned)
    waiting = Waiting(buckets, topics, planned)
    let_time_pass(monkeypatch)
    assert count_requests_until(ingest, CHECK, proxy) > 8
    if on_timeout == "fail":
        assert_failed(waiting, "review-timeout")
    else:
        waiting.assert_dispatched()
    assert not waiting.is_listed()


def test_start_of_a_wait_continues_after_a_crash_at_any_request(
    buckets: Buckets, proxy: Proxy, topics: Topics, clip: Path
) -> None:
    planned = plan_waiting_job(buckets, clip, waiting_policy())
    find_all_segments(buckets, planned)

    def deliver(message: object) -> int:
        expire_lease(buckets, object_names.link_lease(planned.job))
        try:
            link(buckets, planned)
        except RetryableError:
            return 503
        return 200

    count_requests_until(deliver, None, proxy)
    waiting = Waiting(buckets, topics, planned)
    assert waiting.state is JobState.WAITING_FOR_REVIEW
    assert waiting.is_listed()
    assert embeddings(buckets, planned) == []
    assert {event["type"] for event in topics.events()} == {"job.waiting"}


def test_confirmation_during_the_start_of_the_wait_is_dispatched(
    buckets: Buckets, topics: Topics, clip: Path, ingest: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge is paused after it wrote the faces, and a person confirms before it continues."""
    planned = plan_waiting_job(buckets, clip, waiting_policy())
    find_all_segments(buckets, planned)
    waiting = Waiting(buckets, topics, planned)
    start = awaiting_review.start_waiting

    def paused(*arguments: object) -> None:
        assert ingest(waiting.confirm(track1="keep")) == 200
        start(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(awaiting_review, "start_waiting", paused)
    link(buckets, planned)
    assert waiting.state is JobState.REDACTING
    assert ingest(CHECK) == 200
    waiting.assert_dispatched()
    assert waiting.decisions()[1] == ("keep", "manual")
