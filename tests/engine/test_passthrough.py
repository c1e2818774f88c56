"""Test that unusual subtitles and chapters are copied, and that the check refuses a result without them."""

from dataclasses import replace
from pathlib import Path

import av
import pytest

from defacer.engine.errors import CheckError
from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.joiner import JoinResult, SegmentFile, check_result, join_files
from defacer.engine.media.reader import read_frames
from defacer.engine.media.segment_writer import write_segment
from defacer.engine.media.side_streams import TrackDigest
from tests.inputs.write_video import Text, Video, write


def join_video(folder: Path, video: Video, name: str = "in.mkv") -> tuple[Path, JoinResult]:
    source, segment, out = write(folder / name, video), folder / "0.nut", folder / "out.mp4"
    with write_segment(str(segment), encoding_of(str(source)), 18) as writer:
        for frame in read_frames(str(source)):
            writer.write(frame)
    return out, join_files(str(source), [SegmentFile.from_path(str(segment), writer.result())], out)


def texts(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as container:
        found = []
        for packet in container.demux(subtitles=0):
            for part in packet.decode() if packet.size > 2 else ():
                start, end = packet.pts * packet.time_base, (packet.pts + packet.duration) * packet.time_base
                found.append((round(float(start), 2), round(float(end), 2), part.dialogue.decode()))
    return found


@pytest.mark.parametrize("codec", ["subrip", "ass"])
def test_texts_shown_together_become_one_text(codec: str, tmp_path: Path) -> None:
    lines = ((0.2, 1.4, "one"), (0.8, 2.0, "two"), (0.8, 1.0, "three"), (2.2, 2.5, "four"))
    out, _ = join_video(tmp_path, Video(sound=(), texts=(Text(codec, lines=lines),)))
    assert texts(out) == [
        (0.2, 0.8, "one"),
        (0.8, 1.0, "one\ntwo\nthree"),
        (1.0, 1.4, "one\ntwo"),
        (1.4, 2.0, "two"),
        (2.2, 2.5, "four"),
    ]


def test_text_without_a_duration_is_shown_until_the_next_one(tmp_path: Path) -> None:
    lines = ((0.2, 0.2, "one"), (1.0, 1.5, "two"))
    out, _ = join_video(tmp_path, Video(sound=(), texts=(Text("subrip", lines=lines),)))
    assert texts(out) == [(0.2, 1.0, "one"), (1.0, 1.5, "two")]


@pytest.mark.parametrize(
    "chapters",
    [
        tuple((n * 0.008, (n + 1) * 0.008, f"c{n}") for n in range(300)),
        ((0.0, 2.0, "all"), (0.0, 1.0, "a"), (1.0, 2.0, "b")),
        ((0.5, 1.0, "later"), (1.5, 2.0, "after a pause")),
        ((0.0, 0.0, "of no length"), (1.0, 2.0, "b")),
        ((0.0, 1.0, "a"), (5.0, 6.0, "beyond the end")),
    ],
)
def test_unusual_chapters_are_copied(chapters: tuple[tuple[float, float, str], ...], tmp_path: Path) -> None:
    out, _ = join_video(tmp_path, Video(sound=(), chapters=chapters))
    with av.open(str(out)) as container:
        found = container.chapters()
    assert sorted(chapter["metadata"]["title"] for chapter in found) == sorted(
        title for *_, title in chapters
    )
    begins = [float(chapter["start"] * chapter["time_base"]) for chapter in found]
    assert begins[1:] == pytest.approx(sorted(start for start, _, _ in chapters)[1:], abs=0.002)


def test_missing_or_moved_packet_is_refused(tmp_path: Path) -> None:
    video = Video(texts=(Text("mov_text"),), chapters=((0.0, 1.0, "a"), (1.0, 2.0, "b")))
    out, joined = join_video(tmp_path, video, "in.mp4")
    check_result(str(out), joined)
    (text,) = joined.texts
    later = TrackDigest(text.is_pcm, text.count, text.times[:], text.digest, text.end)
    later.times[0] += 0.05
    for wrong, what in (
        ({"texts": [*joined.texts, text]}, "subtitles"),
        ({"texts": [later]}, "subtitles"),
        ({"sound": []}, "sound"),
        ({"chapters": [0.0]}, "chapters"),
        ({"chapters": [0.0, 1.1]}, "chapters"),
        ({"shown": joined.shown[1:]}, "frames"),
    ):
        with pytest.raises(CheckError, match=what):
            check_result(str(out), replace(joined, **wrong))
