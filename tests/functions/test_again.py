"""A published video rendered again with other decisions, by the real engine, which looks for nobody."""

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from defacer.commands.privacy.erase import Subject, erase
from defacer.commands.privacy_cli import main as privacy
from defacer.commands.rerender import main as command
from defacer.engine.engine import Engine
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import rerender_request
from defacer.pipeline.storage import object_names
from defacer.report.tracks import Reason
from tests.clips import frame_seconds
from tests.cloud import Buckets, Post, Topics
from tests.functions.merging import REPORT, RESULT
from tests.functions.rendering import EILEEN, WHITE, Cloud
from tests.planned import VIDEO, Planned


@pytest.fixture
def cloud(
    buckets: Buckets,
    topics: Topics,
    ingest: Post,
    worker: Post,
    merge: Post,
    monkeypatch: pytest.MonkeyPatch,
) -> Cloud:
    """The functions. No model is loaded but the one that checks results."""

    def no_models(self: Engine, name: str) -> NoReturn:
        raise AssertionError(f"the model {name} was asked for")

    for model in ("detector", "recognizer"):
        monkeypatch.setattr(Engine, model, no_models)
    return Cloud(buckets, topics, ingest, worker, merge)


@pytest.fixture
def first(cloud: Cloud, clip: Path) -> Planned:
    """Published: Eileen kept, two others hidden."""
    return cloud.publish_first(clip)


def test_without_a_decision_the_command_lists_the_tracks(
    cloud: Cloud, first: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    report = cloud.report()
    tracks = list(report.tracks)
    tracks[0] = replace(tracks[0], distance=0.9, strangers_per_10000=0)
    cloud.rewrite_report(report.model_copy(update={"tracks": tuple(tracks)}))
    assert command([first.job]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].endswith(
        "keep as Eileen: near a target (distance 0.90: fewer than 1 in 10,000 strangers looks this alike)"
    )
    assert command(["0" * 20]) == 1
    assert "There is no job" in capsys.readouterr().err


def test_a_track_that_was_kept_is_hidden(cloud: Cloud, first: Planned, tmp_path: Path) -> None:
    job = cloud.run(cloud.ask(first.job, {0: "hide"}))
    assert cloud.hidden() == [True, True, True]
    result = tmp_path / "result.mp4"
    result.write_bytes(cloud.buckets.get(cloud.buckets.output, RESULT))
    assert frame_seconds(result) == frame_seconds(first.clip)
    report = cloud.report()
    assert (report.job, report.source) == (job, first.manifest.source)
    assert report.again is not None
    assert (report.again.of, report.again.decisions) == (first.job, {0: "hide"})
    assert [track.reason for track in report.tracks] == [
        Reason.MANUAL,
        Reason.NO_MATCH,
        Reason.NO_MATCH,
    ]
    assert report.policy == WHITE
    assert cloud.buckets.names(cloud.buckets.output) == [RESULT, REPORT]
    stays = [object_names.manifest(job), object_names.published(job), object_names.verdict(job)]
    assert cloud.buckets.names(cloud.buckets.work, object_names.job_prefix(job)) == stays


def test_a_track_that_was_hidden_is_kept_and_all_others_stay_hidden(cloud: Cloud, first: Planned) -> None:
    before = cloud.report()
    cloud.run(cloud.ask(first.job, {1: "keep"}))
    assert cloud.hidden() == [False, False, True]
    after = cloud.report()
    assert [track.decision for track in after.tracks] == ["keep", "keep", "hide"]
    changed = replace(before.tracks[1], decision="keep", reason=Reason.MANUAL)
    assert after.faces == before.faces
    assert after.tracks == (before.tracks[0], changed, before.tracks[2])


def test_nobody_is_looked_for_and_a_test_would_see_it(cloud: Cloud, first: Planned) -> None:
    cloud.run(cloud.ask(first.job, {1: "keep"}))
    assert cloud.steps() == {"redact"}
    assert cloud.worker(Planned(first.clip, first.manifest, first.ref).task(0)) == 200  # it is over
    other = Planned(first.clip, first.manifest, first.ref)
    cloud.buckets.client.bucket(cloud.buckets.work).blob(object_names.published(first.job)).delete()
    assert cloud.worker(other.task(0)) == 503


def test_a_third_run_keeps_what_the_second_decided(cloud: Cloud, first: Planned) -> None:
    second = cloud.run(cloud.ask(first.job, {1: "keep", 0: "hide"}))
    third = cloud.run(cloud.ask(second, {2: "keep"}))
    assert cloud.hidden() == [True, False, False]
    report = cloud.report()
    assert report.again is not None
    assert (report.job, report.again.of, report.again.decisions) == (third, second, {2: "keep"})
    assert {track.reason for track in report.tracks} == {Reason.MANUAL}
    # The first job, too, stands for what is published now.
    cloud.run(cloud.ask(first.job, {0: "keep"}))
    assert cloud.hidden() == [False, False, False]
    assert cloud.report().targets == ("Eileen",)


def test_the_numbers_of_a_request_that_is_under_way_are_asked_for_by_the_next_one_too(
    cloud: Cloud, first: Planned
) -> None:
    older = cloud.ask(first.job, {0: "hide"})
    newer = cloud.ask(first.job, {1: "keep"})
    cloud.run(newer)
    assert cloud.hidden() == [True, False, True]
    late = cloud.run(older)  # its request is gone
    assert cloud.failed(late).code == "request-gone"
    assert cloud.hidden() == [True, False, True]


@pytest.mark.parametrize("first_done", ["older", "newer"])
def test_of_two_renderings_the_one_asked_for_later_stays(
    first_done: str, cloud: Cloud, first: Planned
) -> None:
    jobs, done = [], []
    for decisions in ({0: "hide"}, {1: "keep"}):
        request = cloud.ask(first.job, decisions)  # type: ignore[arg-type]  # of dicts' values
        jobs.append(object_names.job_id(request.bucket, request.name, request.generation))
        cloud.run_to_the_end_but_one(request)
        done.append(cloud.new(cloud.topics.segments_done))
    for pushes in done if first_done == "older" else reversed(done):
        for push in pushes:
            assert cloud.merge(push) == 200
    assert cloud.hidden() == [True, False, True]
    assert cloud.report().job == jobs[1]
    ends = [cloud.published(job).superseded for job in jobs]
    assert ends == [first_done == "newer", False]
    said = {event["subject"]: event["data"]["message"] for event in cloud.topics.events()}
    told = "A newer upload or re-render of this video was published before."
    assert said[jobs[0]] == (told if first_done == "newer" else None)


def test_a_newer_upload_s_result_is_not_replaced(cloud: Cloud, first: Planned) -> None:
    request = cloud.ask(first.job, {1: "keep"})
    cloud.run_to_the_end_but_one(request)
    for name in (RESULT, REPORT):
        blob = cloud.buckets.blob(cloud.buckets.output, name)
        newer = str(first.manifest.source.generation + 1)
        blob.metadata = {
            **blob.metadata,
            object_names.OF_JOB: "ab" * 10,
            object_names.OF_SOURCE_GENERATION: newer,
        }
        blob.patch()
    cloud.lead(cloud.topics.segments_done, cloud.merge)
    job = object_names.job_id(request.bucket, request.name, request.generation)
    assert cloud.published(job).superseded
    assert cloud.hidden() == [False, True, True]
    with pytest.raises(PermanentError, match="of another upload, by job abab") as raised:
        rerender_request.request_rerender(first.job, {1: "keep"})
    assert raised.value.code == "result-changed"


def test_all_messages_twice_make_one_result(cloud: Cloud, first: Planned) -> None:
    request = cloud.ask(first.job, {0: "hide"})
    job = cloud.run(request, times=2)
    assert cloud.hidden() == [True, True, True]
    result = cloud.buckets.blob(cloud.buckets.output, RESULT)
    published = cloud.published(job).result
    assert published is not None
    assert (published.generation, result.metageneration) == (result.generation, 1)
    ours = [event for event in cloud.topics.events() if event["subject"] == job]
    assert {event["id"] for event in ours} == {f"{job}-planned", f"{job}-completed"}
    cloud.run(request, times=2)  # years later
    assert cloud.buckets.blob(cloud.buckets.output, RESULT).generation == result.generation


def test_the_picture_that_covers_faces_is_the_channel_s(cloud: Cloud, clip: Path) -> None:
    from tests.clips import astronaut, encode_picture

    replacement = encode_picture(astronaut() // 2 + 128)
    first = cloud.publish_first(clip)
    image = cloud.report().model_copy(update={"policy": Policy(mode="image")})
    cloud.rewrite_report(image)
    request = cloud.ask(first.job, {0: "hide"})
    job = cloud.run(request)
    assert cloud.failed(job).code == "no-replacement"
    cloud.buckets.put(cloud.buckets.intake, "channels/street/replacement.png", replacement)
    job = cloud.run(cloud.ask(first.job, {0: "hide"}))
    assert cloud.manifest(job).replacement is not None
    assert cloud.report().job == job


def test_a_report_out_of_which_a_name_was_taken_is_begun_from_too(cloud: Cloud, first: Planned) -> None:
    forget = ["forget", "Eileen", "--channel", "street", "--yes", "--render-again"]
    assert privacy(forget) == 0
    assert cloud.hidden() == [True, True, True]
    cloud.run(cloud.ask(first.job, {2: "keep"}))
    assert cloud.hidden() == [True, True, False]
    report = cloud.report()
    assert report.targets == ()


def test_who_was_kept_before_is_forgotten_in_a_rendering_too(cloud: Cloud, first: Planned) -> None:
    """Hidden by hand and kept again, a face is still known by its name."""
    cloud.run(cloud.ask(first.job, {0: "hide"}))
    cloud.run(cloud.ask(first.job, {0: "keep", 2: "keep"}))
    assert cloud.hidden() == [False, True, False]
    assert privacy(["forget", "Eileen", "--channel", "street", "--yes", "--render-again"]) == 0
    assert cloud.hidden() == [True, True, False]
    for bucket in (cloud.buckets.intake, cloud.buckets.work, cloud.buckets.output):
        for name in cloud.buckets.names(bucket):
            assert b"Eileen" not in cloud.buckets.get(bucket, name)


@pytest.mark.parametrize("which", ["upload", "rendering", "older rendering"])
def test_erasing_one_job_of_an_upload_erases_all_that_was_made_of_it(
    which: str, cloud: Cloud, first: Planned
) -> None:
    older = cloud.run(cloud.ask(first.job, {0: "hide"}))
    newer = cloud.run(cloud.ask(first.job, {1: "keep"}))
    erased = {"upload": first.job, "rendering": newer, "older rendering": older}[which]
    assert privacy(["erase", erased, "--yes"]) == 0
    assert cloud.buckets.names(cloud.buckets.output) == []
    assert cloud.buckets.names(cloud.buckets.intake) == [EILEEN]
    marks = [object_names.failed(job) for job in sorted((first.job, older, newer))]
    assert cloud.buckets.names(cloud.buckets.work) == marks
    assert privacy(["erase", erased, "--yes"]) == 0


@pytest.mark.parametrize("when", ["its own manifest", "any manifest"])
@pytest.mark.parametrize("which", ["upload", "rendering", "older rendering"])
def test_an_erasing_that_dies_when_a_manifest_is_gone_goes_on_with_all_that_was_made_of_the_upload(
    which: str, when: str, cloud: Cloud, first: Planned
) -> None:
    older = cloud.run(cloud.ask(first.job, {0: "hide"}))
    newer = cloud.run(cloud.ask(first.job, {1: "keep"}))
    erased = {"upload": first.job, "rendering": newer, "older rendering": older}[which]
    manifests = [object_names.manifest(job) for job in (first.job, older, newer)]
    last = [object_names.manifest(erased)] if when == "its own manifest" else manifests

    def die(ref: ObjectRef) -> None:
        if ref.name in last:
            raise RetryableError("it dies")

    with pytest.raises(RetryableError):
        erase(Subject(job=erased), die, lambda _: None)
    assert privacy(["erase", erased, "--yes"]) == 0
    assert cloud.buckets.names(cloud.buckets.output) == []
    assert cloud.buckets.names(cloud.buckets.intake) == [EILEEN]
    left = set(cloud.buckets.names(cloud.buckets.work))
    left -= {object_names.merge_lease(job) for job in (first.job, older, newer)}  # which name nothing
    assert left == {object_names.failed(job) for job in (first.job, older, newer)}


@pytest.mark.parametrize("which", ["upload", "rendering"])
def test_an_upload_without_a_manifest_is_erased_with_what_its_requests_made(
    which: str, cloud: Cloud, first: Planned
) -> None:
    older = cloud.run(cloud.ask(first.job, {0: "hide"}))
    newer = cloud.run(cloud.ask(first.job, {1: "keep"}))
    erased = {"upload": first.job, "rendering": newer}[which]
    cloud.buckets.client.bucket(cloud.buckets.work).blob(object_names.manifest(erased)).delete()
    assert privacy(["erase", erased, "--yes"]) == 0
    assert cloud.buckets.names(cloud.buckets.output) == []
    assert cloud.buckets.names(cloud.buckets.intake) == [EILEEN]
    assert cloud.buckets.names(cloud.buckets.work) == [
        object_names.failed(job) for job in sorted((first.job, older, newer))
    ]


def test_a_rendering_that_is_erased_while_it_is_under_way_never_comes_back(
    cloud: Cloud, first: Planned
) -> None:
    request = cloud.ask(first.job, {1: "keep"})
    cloud.run_to_the_end_but_one(request)
    assert privacy(["erase", "channels/street", "--yes"]) == 0
    cloud.lead(cloud.topics.segments_done, cloud.merge)
    assert cloud.buckets.names(cloud.buckets.output) == []
    assert cloud.buckets.names(cloud.buckets.intake) == []
    job = object_names.job_id(request.bucket, request.name, request.generation)
    marks = [object_names.failed(each) for each in sorted((first.job, job))]
    assert cloud.buckets.names(cloud.buckets.work) == marks


def test_what_was_never_published_can_t_be_asked_for(cloud: Cloud, planned: Planned) -> None:
    for job, code in ((planned.job, "not-published"), ("ab" * 10, "no-job"), ("../x", "no-job")):
        with pytest.raises(PermanentError) as raised:
            rerender_request.request_rerender(job, {1: "keep"})
        assert raised.value.code == code
    assert cloud.buckets.names(cloud.buckets.intake) == [VIDEO]


def test_a_job_of_which_only_the_result_is_left_can_be_asked_for(cloud: Cloud, first: Planned) -> None:
    for name in cloud.buckets.names(cloud.buckets.work):
        cloud.buckets.client.bucket(cloud.buckets.work).blob(name).delete()
    cloud.run(cloud.ask(first.job, {0: "hide"}))
    assert cloud.hidden() == [True, True, True]


@pytest.mark.parametrize("decisions", [{}, {1: "blur"}, {-1: "keep"}])
def test_only_decisions_about_tracks_can_be_asked_for(
    decisions: dict[int, object], cloud: Cloud, first: Planned
) -> None:
    with pytest.raises(PermanentError, match="Say for each track") as raised:
        rerender_request.request_rerender(first.job, decisions)  # type: ignore[arg-type]  # as a careless caller would
    assert raised.value.code == "bad-decisions"
