"""Masks that a person draws by numbers, on the command line or in a file."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from defacer.engine.corrections.drawn_mask import DrawnMask, SecondsRange, parse_mask, parse_range, read_masks
from defacer.engine.errors import ArgumentError
from defacer.report.compact_boxes import BoxAt
from defacer.report.edits import AddedTrack
from defacer.report.faces import Faces

FACES = Faces("", None, 0.7, 640, 360, "1/100", 500, 0, (), (), start=50, end=5040)


def follow_nothing(*_: object) -> AddedTrack:
    raise AssertionError("the mask was to follow a face")


def keyframes(mask: DrawnMask) -> list[BoxAt]:
    return list(mask.to_track("no such video", FACES, follow_nothing).detections)


def test_mask_has_a_span_a_box_and_corrections() -> None:
    mask = parse_mask("0:12.5-1:02@10,20,30,40;0:13@15,20,30,40.5", follow=False)
    assert mask.range == SecondsRange(Fraction(25, 2), Fraction(62))
    assert mask.boxes == {None: (10, 20, 40, 60), Fraction(13): (15, 20, 45, 60.5)}
    assert keyframes(mask) == [
        BoxAt(1299, (10, 20, 40, 60)),
        BoxAt(1350, (15, 20, 45, 60.5)),
        BoxAt(5040, (15, 20, 45, 60.5)),
    ]


def test_times_that_a_command_printed_leave_no_frame_out() -> None:
    """At 30 frames per second, the commands print the times 12.033 and 12.067 of frames as 12.03 and 12.07."""
    faces = replace(FACES, time_base="1/15360", start=0, end=15360 * 20)
    track = parse_mask("12.07-14.03@10,20,30,40", follow=False).to_track(
        "no such video", faces, follow_nothing
    )
    first, last = (number * 15360 // 30 for number in (12 * 30 + 2, 14 * 30 + 1))
    assert first - 512 < track.detections[0].pts <= first
    assert last <= track.detections[-1].pts < last + 512


def test_mask_without_a_span_is_for_the_whole_video() -> None:
    box = (10.0, 20.0, 40.0, 60.0)
    assert keyframes(parse_mask("10,20,30,40", follow=False)) == [BoxAt(50, box), BoxAt(5040, box)]


@pytest.mark.parametrize(
    "text",
    [
        *("", "1-2", "1-2@", "1-2@1,2,3", "1-2@1,2,3,4,5", "1-2@1,2,0,4", "1-2@1,2,x,4", "1-2@1,2,nan,4"),
        *("1@1,2,3,4", "a-2@1,2,3,4", "1-2#1@1,2,3,4", "1-2@1,2,3,4;1,2,3,4", "1-2@1,2,3,4;x@1,2,3,4"),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"is not|has the number"):
        parse_mask(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0:60-1:30@1,2,3,4", "1:00 is after the last frame, which is at 0:49.9"),
        ("3-2@1,2,3,4", "ends before it begins"),
        ("1-2@700,2,3,4", "outside the frame of 640x360"),
        ("1-2@1,2,3,4;3@1,2,3,4", "outside its time span"),
    ],
)
def test_times_and_boxes_outside_the_video_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        keyframes(parse_mask(text, follow=False))


def test_file_has_many_masks(tmp_path: Path) -> None:
    file = tmp_path / "masks.json"
    file.write_text(
        '[{"start": 1, "end": "0:02.5", "boxes": [{"box": [1, 2, 3, 4]}, {"time": 2, "box": [5, 6, 7, 8]}]},'
        ' {"boxes": [{"box": [1, 2, 3, 4]}], "follow": false}]'
    )
    one, other = read_masks(file)
    assert one == parse_mask("1-2.5@1,2,3,4;2@5,6,7,8")
    assert other == parse_mask("1,2,3,4", follow=False)
    assert [mask.follow for mask in read_masks(file, follow=False)] == [False, False]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[1]", '[{"boxes": []}]', '[{"boxes": [{"box": [1, 2, 0, 4]}]}]'),
        *('[{"boxes": [{"box": [1, 2, 3]}]}]', '[{"boxes": [{"box": [1, 2, 3, 4]}], "from": 1}]'),
    ],
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "masks.json"
    file.write_text(text)
    with pytest.raises(ArgumentError, match="is not a list of masks"):
        read_masks(file)


def test_time_span_of_a_search_is_two_times() -> None:
    assert parse_range("1:00-1:02.5") == SecondsRange(Fraction(60), Fraction(125, 2))
    with pytest.raises(ArgumentError, match="is not a time span"):
        parse_range("60")
