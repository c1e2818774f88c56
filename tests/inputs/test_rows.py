"""Test every row of the table of inputs with the engine in several segments. `test_pipeline.py` has the emulator."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from defacer.engine.engine import Engine
from defacer.engine.errors import EngineError
from defacer.engine.media.probe import probe
from defacer.engine.models.arrays import Detection, Detector, Image
from defacer.pipeline.segmentation import plan_segments
from defacer.report.changes import ChangeCode
from tests.inputs.all_rows import ROWS
from tests.inputs.judge import judge
from tests.inputs.rows import Row
from tests.inputs.run_engine import deface
from tests.inputs.segment_check import require_same_at_key_frames
from tests.inputs.table import README, line
from tests.planned import read_header

# Another row holds the same on every commit: the rate, the turn, the colors, the codec or the track differ in a value.
SIMILAR = {
    "23.976 frames a second",
    "50 frames a second",
    "59.94 frames a second",
    "every frame a key frame",
    "turned by 180 degrees",
    "turned by 270 degrees",
    "mirrored",
    "BT.601",
    "BT.2020, 8 bits",
    "HEVC with 10 bits",
    "interlaced, bottom field first",
    "gray, limited range",
    "128x96",
    "MPEG-4 with B-frames, AVI",
    "VP8, Vorbis, WebM",
    "MP4, index first",
    "MOV",
    "MKV",
    "transport stream",
    "Opus, MP4",
    "AC-3, MKV",
    "FLAC, MKV",
    "mu-law, MOV",
    "PCM with 8 bits, AVI",
    "PCM with 16 bits at 96 kHz, MKV",
    "PCM with floating point, MKV",
    "PCM with 24 bits, 5.1 channels, MKV",
    "ADPCM, AVI",
    "MLP with 5.1 channels, MKV",
    "AMR-WB, 3GP",
    "Speex, FLV",
    "Nellymoser, FLV",
    "TTA, MKV",
    "WavPack, MKV",
    "a gap in WMA",
    "Blu-ray PCM, M2TS",
    "IMA4, MOV",
    "AMR, 3GP",
    "subtitles, MKV (SubRip, two languages)",
    "MPEG-4 with B-frames and the times of decoding, MP4",
    "a raw stream of HEVC",
    "frames with the same time, MKV",
    "two recordings in one file, MPEG-2 program stream",
    "a clock that jumps 20 s ahead, transport stream",
    "two recordings in one file, with the policy to hide damage",
    "the time of day, MKV",
    "cut off within a cluster, MKV, with the policy to hide damage",
    "a header that counts 1,000 frames, AVI, with the policy to hide damage",
    "start codes instead of lengths, MP4",
    "no key frame at the start, HEVC in a transport stream",
    "empty frames in place of dropped ones, MPEG-4 in AVI",
    "hidden frames in their own packets, VP8",
    "29.97 frames a second",
    "120 frames a second",
    "PCM with 24 bits, MOV",
    "A-law, AVI",
    "a gap in Blu-ray PCM",
    "odd width and height, 4:2:0",
    "turned and mirrored",
    "4:2:2",
    "HEVC in open groups of pictures, MP4",
    "subtitles shown together, MKV (SubRip)",
    "interlaced with 10 bits stays H.264",
    "frames with the same time, FLV",
    "MPEG-4, MP3, AVI",
    "an edit list that cuts out the middle, PCM",
    "fields in packets of their own, raw stream",
    "HEVC with HLG, a face in it",
    "HEVC with 10 bits, 4:2:2",
    "interlaced MPEG-2",
}
CLOCK_CODES = (ChangeCode.CORRECTED_CLOCK, ChangeCode.CORRECTED_TIMES)
# The probe reads no text, and decodes the first frame only.
LATE_CODES = (ChangeCode.DROPPED_TELEMETRY, ChangeCode.CONVERTED_PICTURE, ChangeCode.CORRECTED_SOUND)
NAMED: dict[str, Any] = {"ids": lambda row: row.name}


class NoFaces:
    """A detector that finds nothing, for the rows that show no face."""

    name = "centerface"
    confident_score = 0.3

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        return [[] for _ in images]


class EngineWithoutDetector(Engine):
    def detector(self, name: str) -> Detector:
        return NoFaces()

    def checker(self) -> Detector:
        """Return no YuNet either: it would search each sampled frame for turned faces, in a quarter of a row's time."""
        return NoFaces()


@pytest.fixture(scope="module")
def engines() -> dict[bool, Engine]:
    """Return an engine for rows with a face, and one for rows without."""
    return {True: Engine(), False: EngineWithoutDetector()}


@pytest.fixture(scope="module")
def table() -> str:
    return README.read_text()


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[pytest.mark.slow] if row.slow or row.name in SIMILAR else []) for row in ROWS],
    **NAMED,
)
def test_input_is_processed_or_refused_as_the_table_says(
    row: Row, engines: dict[bool, Engine], table: str, tmp_path: Path
) -> None:
    engine = engines[row.face]
    source, out = row.make(tmp_path), tmp_path / "out.mp4"
    if row.expected != "same":
        with pytest.raises(EngineError, match=row.expected):
            deface(engine, source, out, row.options, row.segment_seconds)
        assert not out.exists()
        assert line(row, "refused") in table
        return
    # A single frame can't be split. All other results are joined from several segments.
    probed, header = probe(str(source), row.options), read_header(source, row.options)
    parts = plan_segments(header, row.segment_seconds)
    assert len(parts) > 1 or row.name == "a single frame"
    require_same_at_key_frames(source, row.on_decode_error, header.clock)
    faces, joined = deface(engine, source, out, row.options, row.segment_seconds)
    assert [c.text for c in joined.changes if c.code in CLOCK_CODES] == list(row.corrected)
    assert set(probed.changes) == {change for change in joined.changes if change.code not in LATE_CODES}
    found = judge(row, source, out, faces, joined.changes)
    assert line(row, found) in table


def test_ffprobe_is_installed() -> None:
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not on the PATH. Run `apt-get install ffmpeg`.")


def test_table_has_every_row_and_twenty_use_the_emulator(table: str) -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert len(re.findall(r"^\| (?!input|---)", table, re.MULTILINE)) == len(ROWS)
    assert len([row for row in ROWS if row.emulated]) >= 20
    assert set(names) >= SIMILAR
