"""Warnings about targets in the report and in the lists that commands print."""

import pytest

from defacer.commands.jobs.job_summary import summarize
from defacer.commands.track_table import track_lines
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.privacy.person_data import remove_person
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.texts import ADVICE, CHECK_OFF
from defacer.report.tracks import Decision, FacesHead, Reason, TargetWarning, TrackRecord

JOB = "0123456789abcdef0123"


@pytest.fixture
def report() -> JobReport:
    """Return the report of a video that shows neither target."""
    return JobReport(
        job=JOB,
        source=ObjectRef(bucket="intake", name="channels/a/videos/b.mp4", generation=1),
        result="channels/a/b.mp4",
        policy=Policy(),
        targets=("Ada", "Bob"),
        frames=1,
        audio_packets=0,
        fingerprint="ab",
        dropped=(),
        segments=(),
        faces=FacesHead(
            detector="centerface",
            recognizer="sface",
            match_threshold=0.72,
            width=64,
            height=64,
            time_base="1/25",
            frames=1,
            sampled_frames=1,
            cuts=(),
            warnings=(
                TargetWarning(
                    code="blurred-picture", person="Ada", message="A target picture of Ada is blurred."
                ),
                TargetWarning(
                    code="no-track-kept", person="Ada", message="No track of Ada was kept.", track=4
                ),
                TargetWarning(code="no-track-kept", person="Bob", message="No track of \x1bBob was kept."),
            ),
        ),
        tracks=(),
    )


def test_job_summary_lists_warnings_with_advice(report: JobReport) -> None:
    blurred, nearest, command, no_track = summarize(report, f"defacer job rerender {JOB}").splitlines()[-4:]
    assert blurred == f"warning: A target picture of Ada is blurred. {ADVICE['blurred-picture']}"
    assert nearest == f"warning: No track of Ada was kept. {ADVICE['no-track-kept']}"
    assert command.endswith(f"defacer job rerender {JOB} --keep 4")
    assert no_track.startswith("warning: No track of \\x1bBob was kept.")


def test_job_summary_says_that_the_check_was_off(report: JobReport) -> None:
    assert CHECK_OFF in summarize(report, "").splitlines()


def test_warnings_of_a_forgotten_person_are_removed(report: JobReport) -> None:
    assert [warning.person for warning in remove_person(report, "Ada").faces.warnings] == ["Bob"]


def with_track(report: JobReport, track: TrackRecord) -> JobReport:
    return report.model_copy(update={"tracks": (track,)})


def track_of(decision: Decision, person: str | None) -> TrackRecord:
    return TrackRecord(
        id=4, start=0, end=50, decision=decision, person=person, reason=Reason.NO_MATCH, distance=1.1, margin=-0.13,
        strangers_per_10000=21, continues=None, detections=CompactBoxes([(0, (1, 2, 3, 4))]),
    )  # fmt: skip


def test_track_list_shows_how_many_strangers_are_as_similar_as_a_kept_face(report: JobReport) -> None:
    _, hidden = track_lines(with_track(report, track_of("hide", None)))
    place = "left (1,2,2,2)".ljust(32)
    assert hidden == f"    4      0.00s      2.00s  Person 1  {place}  hide: near no target (distance 1.10)"
    _, kept = track_lines(with_track(report, track_of("keep", None)))
    assert kept.endswith("(distance 1.10: about 21 in 10,000 strangers look this similar)")


def test_track_of_a_forgotten_person_has_no_distance(report: JobReport) -> None:
    (track,) = remove_person(with_track(report, track_of("keep", "Ada")), "Ada").tracks
    assert (track.person, track.distance, track.margin, track.strangers_per_10000) == (None, None, None, None)
