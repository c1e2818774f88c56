"""Re-renders of a published video with other decisions, with the real engine."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from defacer.commands.app import main as defacer
from defacer.commands.jobs.job_summary import summarize
from defacer.engine.engine import Engine
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import rerender_request
from defacer.pipeline.privacy.erase import Subject, erase
from defacer.pipeline.storage import object_names
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.edits import AddedTrack, Edits
from defacer.report.track_splits import split_track
from defacer.report.tracks import Origin, Reason
from tests.clips import frame_seconds, frame_times
from tests.cloud import Buckets, Post, Topics, upload_push
from tests.commands.conftest import RESULT_FIELDS
from tests.functions.merging import REPORT, RESULT
from tests.functions.rendering import BOXES, EILEEN, WHITE, Cloud
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
    """The functions. Loading any model except the checker fails the test."""

    def refuse_models(self: Engine, name: str) -> NoReturn:
        raise AssertionError(f"the model {name} was asked for")

    for model in ("detector", "recognizer"):
        monkeypatch.setattr(Engine, model, refuse_models)
    return Cloud(buckets, topics, ingest, worker, merge)


@pytest.fixture
def first(cloud: Cloud, clip: Path) -> Planned:
    """A published video with Eileen kept and two other people hidden."""
    return cloud.publish_first(clip)


def test_command_without_decisions_lists_the_tracks(
    cloud: Cloud, first: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    report = cloud.report()
    tracks = list(report.tracks)
    tracks[0] = replace(tracks[0], distance=0.9, strangers_per_10000=0)
    cloud.rewrite_report(report.model_copy(update={"tracks": tuple(tracks)}))
    assert defacer(["job", "rerender", first.job]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].endswith(
        "keep as Eileen: near a target (distance 0.90: fewer than 1 in 10,000 strangers looks this similar)"
    )
    assert defacer(["job", "rerender", "0" * 20]) == 2
    error = capsys.readouterr().err
    assert "There is no job '00000000000000000000' that was published." in error
    assert error.endswith("job status\n")


def test_commands_print_jobs_and_tracks_as_json(
    cloud: Cloud, first: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    assert defacer(["job", "rerender", first.job, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["job"], found["tracks"][0]["person"]) == (first.job, "Eileen")
    assert [track["decision"] for track in found["tracks"]] == ["keep", "hide", "hide"]
    assert defacer(["job", "status", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["job"], listed["source"], listed["share"]) == (first.job, VIDEO, 1.0)
    assert listed["kind"] == "upload"
    assert listed["outcome"] == "published"
    assert defacer(["job", "status", first.job, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) > RESULT_FIELDS
    assert (shown["people"], shown["kept"], shown["hidden"]) == (["Eileen"], 1, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--hide", "77"], "There is no track 77, the report has tracks 0 to 2. To list the tracks: "),
        (["--keep", "3", "--hide", "4"], "There are no tracks 3, 4, "),
        (["--keep", "-1"], "There is no track -1, "),
        (["--split", "9@0:01"], "There is no track 9, "),
        (["--split", "00@9:00"], "--split 00@9:00: track 0 has no box "),
        (["--split", "0@9:00"], "--split 0@9:00: track 0 has no box "),
        (["--decisions", "FILE"], "There is no track 50, "),
        (["--hide", "4", "--mask", "10,40,60,70", "--no-follow"], "There is no track 4, "),
        (["--mask", "5:00-5:01@10,40,60,70"], "5:00 is after the last frame"),
        (["--mask", "5000,40,60,70"], "The box 5000,40,60,70 is outside the frame"),
        (["--look-again", "5:00-5:01"], "5:00 is after the last frame"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_refuses_wrong_numbers_before_a_request(
    changes: list[str],
    message: str,
    cloud: Cloud,
    first: Planned,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "decisions.json"
    file.write_text('{"50": "hide"}')
    given = [str(file) if word == "FILE" else word for word in changes]
    assert defacer(["job", "rerender", first.job, *given]) == 2
    assert message in capsys.readouterr().err
    assert cloud.buckets.names(cloud.buckets.intake, "channels/street/rerender/") == []


def test_command_accepts_the_number_of_a_pending_track(cloud: Cloud, first: Planned) -> None:
    cloud.write_request(first.job, Edits(added=(AddedTrack(CompactBoxes([(0, BOXES[0])])),)))  # gets number 3
    assert defacer(["job", "rerender", first.job, "--keep", "4"]) == 2
    assert defacer(["job", "rerender", first.job, "--keep", "3"]) == 0
    cloud.run(cloud.request())
    assert [track.decision for track in cloud.report().tracks] == ["keep", "hide", "hide", "keep"]


def test_status_shows_which_jobs_are_re_renders(
    cloud: Cloud, first: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = object_names.job_of(cloud.write_request(first.job, {9: "hide"}))
    assert cloud.ingest(upload_push(cloud.request())) == 200
    done = cloud.run(cloud.write_request(first.job, {0: "hide"}))
    waiting = object_names.job_of(cloud.write_request(first.job, {1: "keep"}))
    capsys.readouterr()  # the log of the functions
    assert defacer(["job", "status", "--json"]) == 0
    kinds = {job["job"]: (job["kind"], job["state"]) for job in json.loads(capsys.readouterr().out)}
    assert kinds == {
        first.job: ("upload", "finalized"),
        failed: ("re-render", "announced"),
        done: ("re-render", "finalized"),
        waiting: ("re-render", "uploaded"),
    }
    assert defacer(["job", "status"]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[:5]]
    assert rows[0] == ["JOB", "KIND"]
    assert [done, "re-render"] in rows
    assert [first.job, "upload"] in rows
    assert defacer(["job", "status", done]) == 0
    assert (
        f"\nkind      re-render of the result of job {first.job}: hide track 0\n" in capsys.readouterr().out
    )


def test_status_of_a_replaced_result_names_the_newer_job(
    cloud: Cloud, first: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    job = cloud.run(cloud.write_request(first.job, {0: "hide"}))
    assert defacer(["job", "status", first.job]) == 0
    shown = capsys.readouterr().out
    assert f"The result was replaced by job {job}." in shown
    assert "kept:" not in shown


def test_kept_track_can_be_hidden(cloud: Cloud, first: Planned, tmp_path: Path) -> None:
    job = cloud.run(cloud.write_request(first.job, {0: "hide"}))
    assert cloud.hidden() == [True, True, True]
    result = tmp_path / "result.mp4"
    result.write_bytes(cloud.buckets.get(cloud.buckets.output, RESULT))
    assert frame_seconds(result) == frame_seconds(first.clip)
    report = cloud.report()
    assert (report.job, report.source) == (job, first.manifest.source)
    assert report.rerender is not None
    assert (report.rerender.of, report.rerender.decisions) == (first.job, {0: "hide"})
    assert [track.reason for track in report.tracks] == [
        Reason.MANUAL,
        Reason.NO_MATCH,
        Reason.NO_MATCH,
    ]
    assert report.policy == WHITE
    assert cloud.buckets.names(cloud.buckets.output) == [RESULT, REPORT]
    stays = [object_names.manifest(job), object_names.published(job), object_names.verdict(job)]
    assert cloud.buckets.names(cloud.buckets.work, object_names.job_prefix(job)) == stays


def test_hidden_track_can_be_kept_and_others_stay_hidden(cloud: Cloud, first: Planned) -> None:
    before = cloud.report()
    cloud.run(cloud.write_request(first.job, {1: "keep"}))
    assert cloud.hidden() == [False, False, True]
    after = cloud.report()
    assert [track.decision for track in after.tracks] == ["keep", "keep", "hide"]
    changed = replace(before.tracks[1], decision="keep", reason=Reason.MANUAL)
    assert after.faces == before.faces
    assert after.tracks == (before.tracks[0], changed, before.tracks[2])


def test_rerender_runs_no_detector(cloud: Cloud, first: Planned) -> None:
    cloud.run(cloud.write_request(first.job, {1: "keep"}))
    assert cloud.steps() == {"redact"}
    assert cloud.worker(Planned(first.clip, first.manifest, first.ref).task(0)) == 200  # the job is over


def test_third_rerender_keeps_decisions_of_the_second(cloud: Cloud, first: Planned) -> None:
    second = cloud.run(cloud.write_request(first.job, {1: "keep", 0: "hide"}))
    third = cloud.run(cloud.write_request(second, {2: "keep"}))
    assert cloud.hidden() == [True, False, False]
    report = cloud.report()
    assert report.rerender is not None
    assert (report.job, report.rerender.of, report.rerender.decisions) == (third, second, {2: "keep"})
    assert {track.reason for track in report.tracks} == {Reason.MANUAL}
    # The first job identifies the published video too.
    cloud.run(cloud.write_request(first.job, {0: "keep"}))
    assert cloud.hidden() == [False, False, False]
    assert cloud.report().targets == ("Eileen",)


def test_added_tracks_of_a_pending_request_keep_their_ids(cloud: Cloud, first: Planned) -> None:
    one, two = (AddedTrack(CompactBoxes([(0, box)])) for box in (BOXES[0], BOXES[1]))
    cloud.write_request(first.job, Edits(added=(one,)))
    cloud.run(cloud.write_request(first.job, Edits(decisions={3: "keep"}, added=(two,))))
    report = cloud.report()
    assert [track.id for track in report.tracks] == [0, 1, 2, 3, 4]
    assert [track.decision for track in report.tracks[3:]] == ["keep", "hide"]
    assert {track.origin for track in report.tracks[3:]} == {Origin.MANUAL}
    assert report.rerender is not None
    assert (report.rerender.decisions, report.rerender.added) == ({3: "keep"}, (3, 4))


def test_command_covers_a_kept_face_with_a_drawn_mask(
    cloud: Cloud, first: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = ["--mask", "10,40,60,70", "--no-follow"]
    assert defacer(["job", "rerender", first.job, *mask, "--hide", "1"]) == 0
    shown = capsys.readouterr()
    assert "track 3, a drawn mask: 0.00s to " in shown.err
    assert cloud.run(cloud.request()) == shown.out.strip()
    assert cloud.hidden() == [True, True, True]
    assert cloud.report().tracks[3].origin == Origin.MANUAL
    cloud.run(cloud.write_request(first.job, {3: "keep"}))
    assert cloud.hidden() == [False, True, True]


def test_command_imports_tracks_and_decisions(
    cloud: Cloud, first: Planned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, file, decisions = tmp_path / "report.jsonl", tmp_path / "tracks.csv", tmp_path / "decisions.json"
    report.write_bytes(cloud.buckets.get(cloud.buckets.output, REPORT))
    assert defacer(["tracks", str(report), "--format", "mot"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    # Track 1 ends earlier. Track 2 is missing, and stays hidden. A new track covers Eileen.
    new = [f"{line.split(',')[0]},9,10,40,60,70" for line in lines if line.split(",")[1] == "1"]
    shorter = [line for line in lines if line.split(",")[1] == "2"][:-10]
    file.write_text("\n".join([head, *shorter, *new]))
    decisions.write_text('{"1": "keep"}')
    command = ["job", "rerender", first.job, "--tracks", str(file)]

    assert defacer(command) == 2
    assert "can show more of these tracks:\ntrack 1 can show more" in capsys.readouterr().err
    assert cloud.buckets.names(cloud.buckets.intake, "channels/street/rerender/") == []

    cloud.write_request(first.job, Edits(added=(AddedTrack(CompactBoxes([(0, BOXES[0])])),)))  # gets number 3
    assert defacer([*command, "--allow-uncover", "--decisions", str(decisions)]) == 0
    shown = capsys.readouterr()
    assert "track 4, imported: 0.00s to " in shown.err
    assert cloud.run(cloud.request()) == shown.out.strip()
    assert cloud.hidden() == [True, False, True]
    assert cloud.report().tracks[4].origin == Origin.IMPORTED


def test_report_lists_the_tracks_that_were_allowed_to_show_more(cloud: Cloud, first: Planned) -> None:
    small = CompactBoxes((item.pts, (20, 60, 30, 70)) for item in cloud.report().tracks[1].detections)
    job = cloud.run(cloud.write_request(first.job, Edits(moved={1: small}, uncovered=frozenset({1}))))
    report = cloud.report()
    assert report.rerender is not None
    assert (report.job, report.rerender.moved, report.rerender.uncovered) == (job, (1,), (1,))
    assert "move track 1, show more of track 1" in summarize(report, "rerender")


def test_import_does_not_shrink_the_boxes_of_a_pending_request(
    cloud: Cloud, first: Planned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file has the published boxes. A pending request has larger ones."""
    report, file = tmp_path / "report.jsonl", tmp_path / "tracks.csv"
    report.write_bytes(cloud.buckets.get(cloud.buckets.output, REPORT))
    assert defacer(["tracks", str(report), "--format", "mot"]) == 0
    file.write_text(capsys.readouterr().out)
    large = CompactBoxes((item.pts, (0, 0, 200, 150)) for item in cloud.report().tracks[1].detections)
    cloud.write_request(first.job, Edits(moved={1: large}))
    assert defacer(["job", "rerender", first.job, "--tracks", str(file)]) == 2
    assert "can show more of these tracks:\ntrack 1 can show more" in capsys.readouterr().err


def test_command_refuses_missing_files_before_a_request(
    cloud: Cloud, first: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--tracks", "--decisions", "--masks"):
        assert defacer(["job", "rerender", first.job, option, "missing.file"]) == 2
        assert "missing.file does not exist. Name an existing file." in capsys.readouterr().err


def test_later_request_includes_decisions_of_a_pending_one(cloud: Cloud, first: Planned) -> None:
    older = cloud.write_request(first.job, {0: "hide"})
    newer = cloud.write_request(first.job, {1: "keep"})
    cloud.run(newer)
    assert cloud.hidden() == [True, False, True]
    late = cloud.run(older)  # its request was replaced
    assert cloud.failed(late).code == "request-gone"
    assert cloud.hidden() == [True, False, True]


@pytest.mark.parametrize("first_done", ["older", "newer"])
def test_later_of_two_rerenders_stays_published(first_done: str, cloud: Cloud, first: Planned) -> None:
    jobs, done = [], []
    for decisions in ({0: "hide"}, {1: "keep"}):
        request = cloud.write_request(first.job, decisions)  # type: ignore[arg-type]  # of dicts' values
        jobs.append(object_names.job_of(request))
        cloud.run_until_last_merge(request)
        done.append(cloud.new_messages(cloud.topics.segments_done))
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


def test_rerender_does_not_replace_result_of_newer_upload(cloud: Cloud, first: Planned) -> None:
    request = cloud.write_request(first.job, {1: "keep"})
    cloud.run_until_last_merge(request)
    for name in (RESULT, REPORT):
        blob = cloud.buckets.blob(cloud.buckets.output, name)
        newer = str(first.manifest.source.generation + 1)
        blob.metadata = {
            **blob.metadata,
            object_names.OF_JOB: "ab" * 10,
            object_names.OF_SOURCE_GENERATION: newer,
        }
        blob.patch()
    cloud.deliver(cloud.topics.segments_done, cloud.merge)
    job = object_names.job_of(request)
    assert cloud.published(job).superseded
    assert cloud.hidden() == [False, True, True]
    with pytest.raises(PermanentError, match="of another upload, by job abab") as raised:
        rerender_request.request_rerender(first.job, Edits(decisions={1: "keep"}))
    assert raised.value.code == "result-changed"


def test_duplicate_messages_create_one_result(cloud: Cloud, first: Planned) -> None:
    request = cloud.write_request(first.job, {0: "hide"})
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


def test_rerender_uses_the_channel_s_replacement_picture(cloud: Cloud, clip: Path) -> None:
    from tests.clips import astronaut, encode_picture

    replacement = encode_picture(astronaut() // 2 + 128)
    first = cloud.publish_first(clip)
    image = cloud.report().model_copy(update={"policy": Policy(mode="image")})
    cloud.rewrite_report(image)
    request = cloud.write_request(first.job, {0: "hide"})
    job = cloud.run(request)
    assert cloud.failed(job).code == "no-replacement"
    cloud.buckets.put(cloud.buckets.intake, "channels/street/replacement.png", replacement)
    job = cloud.run(cloud.write_request(first.job, {0: "hide"}))
    assert cloud.manifest(job).replacement is not None
    assert cloud.report().job == job


def test_report_without_a_forgotten_name_can_be_rerendered(cloud: Cloud, first: Planned) -> None:
    forget = ["person", "forget", "Eileen", "--channel", "street", "--yes", "--rerender"]
    assert defacer(forget) == 0
    assert cloud.hidden() == [True, True, True]
    cloud.run(cloud.write_request(first.job, {2: "keep"}))
    assert cloud.hidden() == [True, True, False]
    report = cloud.report()
    assert report.targets == ()


def test_forget_applies_to_rerendered_results(cloud: Cloud, first: Planned) -> None:
    """A track that was hidden and kept again still has its name."""
    cloud.run(cloud.write_request(first.job, {0: "hide"}))
    cloud.run(cloud.write_request(first.job, {0: "keep", 2: "keep"}))
    assert cloud.hidden() == [False, True, False]
    assert defacer(["person", "forget", "Eileen", "--channel", "street", "--yes", "--rerender"]) == 0
    assert cloud.hidden() == [True, True, False]
    for bucket in (cloud.buckets.intake, cloud.buckets.work, cloud.buckets.output):
        for name in cloud.buckets.names(bucket):
            assert b"Eileen" not in cloud.buckets.get(bucket, name)


def test_forget_removes_a_name_that_a_person_gave(cloud: Cloud, first: Planned) -> None:
    cloud.run(cloud.write_request(first.job, Edits(decisions={1: "keep"}, people={0: None, 1: "Eileen"})))
    assert [track.person for track in cloud.report().tracks] == [None, "Eileen", None]
    assert defacer(["person", "forget", "Eileen", "--channel", "street", "--yes", "--rerender"]) == 0
    assert cloud.hidden() == [False, True, True]
    for bucket in (cloud.buckets.intake, cloud.buckets.work, cloud.buckets.output):
        for name in cloud.buckets.names(bucket):
            assert b"Eileen" not in cloud.buckets.get(bucket, name)


def test_split_lasts_through_re_renders_and_forgets_the_part_s_name(cloud: Cloud, first: Planned) -> None:
    times = frame_times(first.clip)
    part = split_track(cloud.report().tracks[0], times[10])
    cloud.run(cloud.write_request(first.job, Edits(added=(replace(part, decision="keep", person="Eileen"),))))
    cloud.run(cloud.write_request(first.job, {0: "hide"}))
    tracks = cloud.report().tracks
    assert [(track.decision, track.person, track.continues) for track in tracks] == [
        ("hide", "Eileen", None),
        ("hide", None, None),
        ("hide", None, None),
        ("keep", "Eileen", 0),
    ]
    assert (tracks[0].end, tracks[3].start) == (times[5], times[10])
    assert defacer(["person", "forget", "Eileen", "--channel", "street", "--yes", "--rerender"]) == 0
    assert cloud.hidden() == [True, True, True]
    for bucket in (cloud.buckets.intake, cloud.buckets.work, cloud.buckets.output):
        for name in cloud.buckets.names(bucket):
            assert b"Eileen" not in cloud.buckets.get(bucket, name)


def test_drawn_mask_stays_when_a_person_is_forgotten(cloud: Cloud, first: Planned) -> None:
    times = frame_times(first.clip)
    mask = AddedTrack(CompactBoxes((pts, BOXES[1]) for pts in (times[0], times[-1])))
    cloud.run(cloud.write_request(first.job, Edits(decisions={1: "keep"}, added=(mask,))))
    assert cloud.hidden() == [False, True, True]
    assert defacer(["person", "forget", "Eileen", "--channel", "street", "--yes", "--rerender"]) == 0
    assert cloud.hidden() == [True, True, True]
    assert [track.origin for track in cloud.report().tracks][3] == Origin.MANUAL


@pytest.mark.parametrize(
    "which", ["upload", pytest.param("rendering", marks=pytest.mark.slow), "older rendering"]
)
def test_erasing_one_job_erases_all_jobs_of_its_upload(which: str, cloud: Cloud, first: Planned) -> None:
    older = cloud.run(cloud.write_request(first.job, {0: "hide"}))
    newer = cloud.run(cloud.write_request(first.job, {1: "keep"}))
    erased = {"upload": first.job, "rendering": newer, "older rendering": older}[which]
    assert defacer(["job", "erase", erased, "--yes"]) == 0
    assert cloud.buckets.names(cloud.buckets.output) == []
    assert cloud.buckets.names(cloud.buckets.intake) == [EILEEN]
    marks = [object_names.failed(job) for job in sorted((first.job, older, newer))]
    assert cloud.buckets.names(cloud.buckets.work) == marks
    assert defacer(["job", "erase", erased, "--yes"]) == 0


@pytest.mark.parametrize(
    ("which", "when"),
    [
        ("upload", "its own manifest"),
        ("older rendering", "any manifest"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("upload", "any manifest"),
                ("rendering", "its own manifest"),
                ("rendering", "any manifest"),
                ("older rendering", "its own manifest"),
            )
        ),
    ],
)
def test_interrupted_erase_without_manifest_finds_all_jobs(
    which: str, when: str, cloud: Cloud, first: Planned
) -> None:
    older = cloud.run(cloud.write_request(first.job, {0: "hide"}))
    newer = cloud.run(cloud.write_request(first.job, {1: "keep"}))
    erased = {"upload": first.job, "rendering": newer, "older rendering": older}[which]
    manifests = [object_names.manifest(job) for job in (first.job, older, newer)]
    last = [object_names.manifest(erased)] if when == "its own manifest" else manifests

    def die(ref: ObjectRef) -> None:
        if ref.name in last:
            raise RetryableError("it dies")

    with pytest.raises(RetryableError):
        erase(Subject(job=erased), die, lambda _: None)
    assert defacer(["job", "erase", erased, "--yes"]) == 0
    assert cloud.buckets.names(cloud.buckets.output) == []
    assert cloud.buckets.names(cloud.buckets.intake) == [EILEEN]
    left = set(cloud.buckets.names(cloud.buckets.work))
    left -= {object_names.merge_lease(job) for job in (first.job, older, newer)}  # which contain no names
    assert left == {object_names.failed(job) for job in (first.job, older, newer)}


@pytest.mark.parametrize("which", ["upload", "rendering"])
def test_erase_of_upload_without_manifest_erases_its_rerenders(
    which: str, cloud: Cloud, first: Planned
) -> None:
    older = cloud.run(cloud.write_request(first.job, {0: "hide"}))
    newer = cloud.run(cloud.write_request(first.job, {1: "keep"}))
    erased = {"upload": first.job, "rendering": newer}[which]
    cloud.buckets.client.bucket(cloud.buckets.work).blob(object_names.manifest(erased)).delete()
    assert defacer(["job", "erase", erased, "--yes"]) == 0
    assert cloud.buckets.names(cloud.buckets.output) == []
    assert cloud.buckets.names(cloud.buckets.intake) == [EILEEN]
    assert cloud.buckets.names(cloud.buckets.work) == [
        object_names.failed(job) for job in sorted((first.job, older, newer))
    ]


def test_erased_rerender_publishes_nothing(cloud: Cloud, first: Planned) -> None:
    request = cloud.write_request(first.job, {1: "keep"})
    cloud.run_until_last_merge(request)
    assert defacer(["job", "erase", "channels/street", "--yes"]) == 0
    cloud.deliver(cloud.topics.segments_done, cloud.merge)
    assert cloud.buckets.names(cloud.buckets.output) == []
    assert cloud.buckets.names(cloud.buckets.intake) == []
    job = object_names.job_of(request)
    marks = [object_names.failed(each) for each in sorted((first.job, job))]
    assert cloud.buckets.names(cloud.buckets.work) == marks


def test_unpublished_video_cannot_be_rerendered(cloud: Cloud, planned: Planned) -> None:
    for job, code in ((planned.job, "not-published"), ("ab" * 10, "no-job"), ("../x", "no-job")):
        with pytest.raises(PermanentError) as raised:
            rerender_request.request_rerender(job, Edits(decisions={1: "keep"}))
        assert raised.value.code == code
    assert cloud.buckets.names(cloud.buckets.intake) == [VIDEO]


def test_job_with_only_its_result_left_can_be_rerendered(cloud: Cloud, first: Planned) -> None:
    for name in cloud.buckets.names(cloud.buckets.work):
        cloud.buckets.client.bucket(cloud.buckets.work).blob(name).delete()
    cloud.run(cloud.write_request(first.job, {0: "hide"}))
    assert cloud.hidden() == [True, True, True]


@pytest.mark.parametrize("decisions", [{}, {1: "blur"}, {-1: "keep"}])
def test_invalid_decisions_are_refused(decisions: dict[int, object], cloud: Cloud, first: Planned) -> None:
    with pytest.raises(PermanentError, match=r"Say for each track|changes nothing") as raised:
        rerender_request.request_rerender(first.job, Edits(decisions=decisions))  # type: ignore[arg-type]  # invalid on purpose
    assert raised.value.code == "bad-decisions"
