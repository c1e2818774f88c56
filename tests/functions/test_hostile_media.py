"""Pictures that are videos, videos that are pictures or playlists, and both with false headers."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.storage import object_names
from tests.clips import astronaut, encode_picture, frame_times
from tests.cloud import Buckets, Post, Topics, upload_push
from tests.functions.ingesting import POLICY, VIDEO, assert_failed, manifest_of
from tests.functions.records import failure_of
from tests.functions.working import report_of
from tests.heif import heic_that_claims
from tests.hostile import (
    avi_that_claims_frames,
    avi_that_claims_size,
    jpeg_that_claims,
    mp4_that_claims_frames,
    png_bomb,
    progressive_jpeg,
    uncompressed_avi,
)
from tests.planned import link_job, plan_job

TARGET = "channels/street/targets/Nobody.png"
REPLACEMENT = "channels/street/replacement.png"
HUGE = 60_000


def make_black_picture(width: int, height: int) -> bytes:
    return encode_picture(np.zeros((height, width, 3), np.uint8))


PICTURES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "60,000x60,000": (lambda clip: png_bomb(HUGE), "60000x60000 pixels, at most 50000000 are allowed"),
    "a JPEG that claims it": (
        lambda clip: jpeg_that_claims(encode_picture(astronaut(), ".jpg"), HUGE, HUGE),
        "60000x60000 pixels, at most",
    ),
    "a HEIC grid that claims it": (
        lambda clip: heic_that_claims(HUGE),
        "60000x60000 pixels, at most 50000000 are allowed",
    ),
    "10,000 scans": (
        lambda clip: progressive_jpeg(7_000, 10_000),
        "has 10000 scans, at most 100 are allowed. Save it again",
    ),
    "a video": (lambda clip: clip.read_bytes(), "not a picture that can be read"),
    "empty": (lambda clip: b"", "not a picture that can be read"),
}


@pytest.mark.parametrize("kind", [*PICTURES, "1x1", "60,000x1", "1x60,000"])
def test_hostile_target_picture_fails_the_job_by_name(
    kind: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    sizes = {"1x1": (1, 1), "60,000x1": (HUGE, 1), "1x60,000": (1, HUGE)}
    if kind in sizes:
        data, said = (
            make_black_picture(*sizes[kind]),
            f"{sizes[kind][0]}x{sizes[kind][1]} pixels. Use a picture with a face",
        )
    else:
        make, said = PICTURES[kind]
        data = make(clip)
    buckets.put(buckets.intake, TARGET, data)
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "bad-picture", object_names.owner_name(TARGET), said)


@pytest.mark.parametrize("kind", PICTURES)
def test_hostile_replacement_fails_the_job_by_name(
    kind: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    make, said = PICTURES[kind]
    buckets.put(buckets.intake, POLICY, b'{"mode": "image"}')
    buckets.put(buckets.intake, REPLACEMENT, make(clip))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "bad-replacement", "replacement.png", said, "Upload")


@pytest.mark.parametrize(("width", "height"), [(1, 1), (HUGE, 1), (1, HUGE)])
def test_replacement_of_odd_shape_covers_faces(
    width: int, height: int, buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    buckets.put(buckets.intake, POLICY, b'{"mode": "image"}')
    picture = buckets.put(buckets.intake, REPLACEMENT, make_black_picture(width, height))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert manifest_of(buckets, ref).replacement == picture


def archive(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("clip.mp4", data)
    return made.getvalue()


NO_VIDEOS: dict[str, Callable[[Path], bytes]] = {
    "a huge picture": lambda clip: png_bomb(HUGE),
    "a list of files": lambda clip: b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "a playlist": lambda clip: (
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    ),
    "a playlist of an address": lambda clip: (
        b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/computeMetadata/v1/\n"
    ),
    "a session": lambda clip: b"v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "a manifest": lambda clip: b'<?xml version="1.0"?><MPD type="static"><Period/></MPD>',
    "entities": lambda clip: b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>',
    "an archive": lambda clip: archive(clip.read_bytes()),
    "zeros": lambda clip: bytes(5_000_000),
    "a page": lambda clip: b"<html><script>alert(1)</script></html>",
    "frames without end": lambda clip: mp4_that_claims_frames(clip, 2**31),
    "too large a frame": lambda clip: avi_that_claims_size(avi_of(clip), 100_000, 100_000),
}


def avi_of(clip: Path) -> bytes:
    return uncompressed_avi(clip.with_suffix(".avi"))


@pytest.mark.parametrize("kind", NO_VIDEOS)
def test_file_that_is_not_a_video_fails_the_job(
    kind: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    ref = buckets.put(buckets.intake, VIDEO, NO_VIDEOS[kind](clip))
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "not-a-video", "walk.mp4: it")


def test_header_with_2_to_the_31_frames_is_cut_off(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    ref = buckets.put(buckets.intake, VIDEO, avi_that_claims_frames(avi_of(clip), 2**31))
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "not-a-video", "it is cut off: it ends at", "before its header says")


@pytest.mark.parametrize(
    ("real", "claimed"), [((64, 48), (8_192, 4_609)), ((16_386, 64), (16_386, 64))], ids=["pixels", "side"]
)
def test_frame_above_the_limit_fails_the_job(
    real: tuple[int, int],
    claimed: tuple[int, int],
    buckets: Buckets,
    topics: Topics,
    ingest: Post,
    tmp_path: Path,
) -> None:
    data = avi_that_claims_size(uncompressed_avi(tmp_path / "large.avi", real, frames=2), *claimed)
    ref = buckets.put(buckets.intake, VIDEO, data)
    assert ingest(upload_push(ref)) == 200
    size = f"{claimed[0]}x{claimed[1]}"
    assert_failed(buckets, topics, ref, "too-large", f"has frames of {size}, at most", "Export it smaller")


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 64), (64, 1)])
def test_video_of_a_few_pixels_is_processed(
    size: tuple[int, int], buckets: Buckets, topics: Topics, worker: Post, tmp_path: Path
) -> None:
    small = tmp_path / "small.avi"
    uncompressed_avi(small, size)
    planned = plan_job(buckets, small)
    assert worker(planned.task(0)) == 200
    linked = link_job(buckets, planned)
    assert worker(linked.task(0)) == 200
    assert list(report_of(buckets, linked, 0).frames) == frame_times(small)


def test_change_to_a_huge_frame_size_fails_the_job(
    buckets: Buckets, topics: Topics, worker: Post, clip: Path, tmp_path: Path
) -> None:
    """The header describes the first frame. Each JPEG of an MJPEG video has its own size."""
    still = tmp_path / "still.mov"
    with av.open(str(still), "w") as container:
        video = container.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 320, 180, "yuvj420p"
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((180, 320, 3), 25 * index, np.uint8), format="rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode())
    data = still.read_bytes()
    at = [place for place in range(len(data)) if data[place : place + 5] == b"\xff\xc0\0\x11\x08"][5]
    still.write_bytes(data[: at + 5] + b"\x80\0\x80\0" + data[at + 9 :])
    planned = plan_job(buckets, still, policy=Policy(on_decode_error="refuse"))
    assert worker(planned.task(0)) == 200
    assert failure_of(buckets, planned.job).code == "not-a-video"
    assert "damaged" in failure_of(buckets, planned.job).message
