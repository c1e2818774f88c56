"""Test the codes of changes, and their place in the report of a file."""

from pathlib import Path

from defacer.engine.file_report import Report
from defacer.engine.options import Options
from defacer.report.changes import ChangeCode, SourceChange, describe_changes, list_dropped
from defacer.report.faces import Faces

CHANGES = (
    SourceChange(ChangeCode.DROPPED_TAG, "tag title"),
    SourceChange(ChangeCode.CONVERTED_SOUND, "sound track 1"),
    SourceChange(ChangeCode.DROPPED_COVER, "cover picture"),
)
FACES = Faces(
    detector="centerface", recognizer=None, match_threshold=0.6, width=64, height=64, time_base="1/25", frames=1,
    start=0, end=0, sampled_frames=1, segments=(), cuts=(), tracks=(),
)  # fmt: skip


def test_every_code_begins_with_its_action() -> None:
    assert {code.action for code in ChangeCode} <= {"dropped", "converted", "corrected"}


def test_lines_group_the_changes_by_action() -> None:
    assert list(describe_changes(CHANGES)) == [
        "dropped: tag title, cover picture",
        "converted: sound track 1",
    ]


def test_report_of_a_file_keeps_the_changes(tmp_path: Path) -> None:
    report = Report(FACES, Options(), "ab", 0, list_dropped(CHANGES), None, CHANGES)
    report.write(tmp_path / "report.jsonl")
    assert Report.read(tmp_path / "report.jsonl") == report
