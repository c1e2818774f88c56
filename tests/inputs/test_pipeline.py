"""Test rows of the table, target pictures of each kind, and videos of each kind of picture, in the emulator."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from defacer.commands.app import main as emulator_command
from defacer.engine.options import Options
from defacer.pipeline.documents.report import JobReport
from defacer.report.faces import Faces
from defacer_emulator.emulator import Emulator
from tests.clips import Clip, admiral, encode_picture, write_clip
from tests.heif import HeifFile
from tests.inputs.all_rows import ROWS
from tests.inputs.judge import judge
from tests.inputs.picture_files import spatial_video
from tests.inputs.rows import Row
from tests.inputs.run_engine import deface
from tests.inputs.test_picture_kinds import CHANGING, OTHER_TRACKS, STATED, displayed
from tests.inputs.test_rows import EngineWithoutDetector

VIDEOS: dict[str, Callable[[Path], Path]] = {
    **{name: changing.make for name, changing in CHANGING.items()},
    **{name: stated.make for name, stated in STATED.items()},
    **OTHER_TRACKS,
    "two views": spatial_video,
}
FIRST_PICTURE = "a crop in an MKV"
# In every run the emulator processes the rows in which the pipeline does more than the engine: it reads a refused,
# damaged or unindexed file over the network, and passes times, colors and masks on in its documents.
FIRST = {
    "variable rate, as a phone writes it",
    "HEVC with HDR10, a face in it",
    "MP4, index last",
    "cut off in the middle",
    "a header that states ten hours, MP4",
    "a damaged packet, with the policy to hide its frames",
    "A-law, with the policy to copy only",
}
EMULATED = [row for row in ROWS if row.emulated]


def test_rows_of_every_run_use_the_emulator() -> None:
    assert {row.name for row in EMULATED} >= FIRST


def upload(source: Path, out: Path, emulator: Emulator) -> JobReport:
    channel = re.sub(r"\W+", "-", out.stem)
    given = [str(source), "--channel", channel, "--dir", str(emulator.folder.path), "-o", str(out)]
    assert emulator_command(["emulator", "upload", *given]) == 0
    return JobReport.from_bytes(out.with_suffix(".report.jsonl").read_bytes())


def test_target_pictures_of_all_kinds_are_used(emulator: Emulator, tmp_path: Path) -> None:
    """One picture that can't be read would fail the job."""
    portrait = np.ascontiguousarray(admiral())
    pictures = {
        "a.jpg": encode_picture(portrait, ".jpg"),
        "a.jfif": encode_picture(portrait, ".jpg"),
        "a.png": encode_picture(portrait),
        "a.tif": encode_picture(portrait, ".tiff"),
        "a.webp": encode_picture(portrait, ".webp"),
        "a.avif": encode_picture(portrait, ".avif"),
        "IMG_1.HEIC": HeifFile(portrait, columns=2, rows=2).to_bytes(),
        "webp.jpg": encode_picture(portrait, ".webp"),
        "sideways.png": encode_picture(np.ascontiguousarray(np.rot90(portrait))),
    }
    bucket = emulator.storage_client().bucket(emulator.intake)
    for name, data in pictures.items():
        bucket.blob(f"channels/targets/targets/Grace/{name}").upload_from_string(data)
    source = write_clip(tmp_path / "in.mp4", Clip(seconds=1, size=(480, 360), audio=False, portrait=portrait))
    report = upload(source, tmp_path / "targets.mp4", emulator)
    assert report.targets == ("Grace",)
    assert [(track.decision, track.person) for track in report.tracks] == [("keep", "Grace")]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == FIRST_PICTURE else [pytest.mark.slow]) for name in VIDEOS]
)
def test_picture_has_the_same_form_in_the_pipeline(name: str, emulator: Emulator, tmp_path: Path) -> None:
    source, out = VIDEOS[name](tmp_path), tmp_path / f"{name}.mp4"
    alone = tmp_path / "alone.mp4"
    _, joined = deface(EngineWithoutDetector(), source, alone, Options(), 1.0)
    report = upload(source, out, emulator)
    assert report.changes == joined.changes
    shapes = [[picture.shape for picture in displayed(path)] for path in (out, alone)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[] if row.name in FIRST else [pytest.mark.slow]) for row in EMULATED],
    ids=lambda row: row.name,
)
def test_pipeline_has_the_same_outcome(
    row: Row, emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = row.make(tmp_path), tmp_path / "out.mp4"
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"on_decode_error": row.on_decode_error, "sound": row.sound}))
    channel = re.sub(r"\W+", "-", row.name)
    arguments = ["--channel", channel, "--policy", str(policy), "--dir", str(emulator.folder.path)]
    code = emulator_command(["emulator", "upload", str(source), *arguments, "-o", str(out)])
    if row.expected != "same":
        assert code == 1
        assert re.search(row.expected, capsys.readouterr().err)
        assert not out.exists()
        client = emulator.storage_client()
        assert list(client.list_blobs(emulator.output, prefix=f"channels/{channel}/")) == []
        return
    assert code == 0, capsys.readouterr().err
    report = JobReport.from_bytes(out.with_suffix(".report.jsonl").read_bytes())
    judge(row, source, out, Faces.from_head(report.faces, report.tracks), report.changes)
