"""An archive of one channel beside the clip of another one, on the emulator with a worker that only copies."""

import time
from pathlib import Path

import pytest

from defacer.pipeline.storage import object_names
from defacer_emulator.emulator import Emulator
from tests.load.notes import read_notes
from tests.load.running import run_emulator, wait_for_ends, write_clip

pytestmark = pytest.mark.slow
VIDEOS, SEGMENTS, CLIP_SEGMENTS = 8, 4, 2
STEPS = 2


def upload(running: Emulator, name: str, data: bytes) -> str:
    blob = running.storage_client().bucket(running.intake).blob(name)
    blob.upload_from_string(data, "video/mp4")
    return object_names.job_id(running.intake, name, int(blob.generation))


@pytest.mark.parametrize("channel_segments", [4, 10_000])
def test_archive_delays_the_clip_of_another_channel_by_its_share(
    channel_segments: int, tmp_path: Path
) -> None:
    """With a share of the queue, most of the archive comes after the clip. Without one, most of it comes before."""
    archive, clip = (
        write_clip(tmp_path / f"{segments}.mp4", segments).read_bytes()
        for segments in (SEGMENTS, CLIP_SEGMENTS)
    )
    with run_emulator(tmp_path, ("DEFACER_CHANNEL_SEGMENTS", str(channel_segments))) as running:
        names = [f"channels/archive/videos/{number}.mp4" for number in range(VIDEOS)]
        jobs = {upload(running, name, archive): name for name in names}
        own = upload(running, "channels/clip/videos/clip.mp4", clip)
        ends = wait_for_ends(running, {**jobs, own: "clip"}, time.monotonic() + 120)
    assert list(ends.values()) == ["published"] * (VIDEOS + 1)
    delivered = [note["job"] for note in read_notes(tmp_path / "notes") if note["kind"] == "delivery"]
    before = len([job for job in delivered[: max_index(delivered, own)] if job in jobs])
    share = before / (VIDEOS * SEGMENTS * STEPS)
    print(
        f"{channel_segments} segments: {before} of the archive's deliveries come before the clip's last one"
    )
    assert share < 0.5 if channel_segments == 4 else share > 0.5


def max_index(delivered: list[str], job: str) -> int:
    return len(delivered) - delivered[::-1].index(job)
