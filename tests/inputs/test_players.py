"""Test that headless Chromium plays results to the end and shows the first, a middle and the last frame."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import av
import cv2
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.media.orientation import orientation_of
from defacer.engine.options import Options
from tests.engine.copied_videos import encoder, equal_frames, redact
from tests.inputs import clock_files
from tests.inputs.rows import PHONE
from tests.inputs.run_engine import deface
from tests.inputs.write_video import Sound, Video, write

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
GRID = (32, 18)
FRAME_SECONDS = 0.04
TIME_SECONDS = 0.001  # less than the interval of two frames
MIN_PSNR = 40.0  # of small pictures, because Chromium converts the colors in another way
PAGE = """<!doctype html><video id=v muted playsinline src=out.mp4></video><script>
const v = document.getElementById('v'), c = document.createElement('canvas'), [across, down] = [%d, %d];
const pixels = () => { const [w, h] = [c.width, c.height] = [v.videoWidth, v.videoHeight], g = c.getContext('2d');
  g.drawImage(v, 0, 0);
  const data = g.getImageData(0, 0, w, h).data, sums = new Float64Array(across * down * 4);
  for (let n = 0; n < w * h; n++) {
    const row = Math.floor(Math.floor(n / w) * down / h), cell = row * across + Math.floor(n %% w * across / w);
    for (let k = 0; k < 4; k++) sums[cell * 4 + k] += data[n * 4 + k]; }
  return Array.from(sums, (sum, n) => Math.round(255 * sum / sums[n - n %% 4 + 3])); };
const shown = () => new Promise(done => v.requestVideoFrameCallback((_, meta) => done(meta)));
const at = async seconds => { const next = shown(); v.currentTime = seconds; const meta = await next;
  return {time: meta.mediaTime, pixels: pixels()}; };
const report = what => fetch('/report', {method: 'POST', body: JSON.stringify(what)});
v.onerror = () => report({error: v.error.message});
v.onloadeddata = async () => { v.onloadeddata = null;
  const frames = []; for (const seconds of TIMES) frames.push(await at(seconds));
  await at(0); const ended = new Promise(done => { v.onended = done; });
  v.playbackRate = 2; await v.play(); await ended;
  report({frames, duration: v.duration, end: v.currentTime}); };
</script>"""


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, "Queue[dict[str, Any]]"]]:
    """Serve a folder by HTTP, with ranges. Yield its address and the queue of what a page reports."""
    reports: Queue[dict[str, Any]] = Queue()

    class Handler(SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def do_GET(self) -> None:
            """Serve ranges, because Chromium seeks only in a video with ranges."""
            byte_range = self.headers.get("Range")
            path = folder / self.path.lstrip("/")
            if byte_range is None or not path.is_file():
                super().do_GET()
                return
            data = path.read_bytes()
            first, _, last = byte_range.removeprefix("bytes=").partition("-")
            start, end = int(first), int(last) if last else len(data) - 1
            self.send_response(206)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
            self.send_header("Content-Length", str(end - start + 1))
            self.end_headers()
            self.wfile.write(data[start : end + 1])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", reports
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def browser(url: str, profile: Path) -> Iterator[None]:
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync",
               "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={profile}",
               "--remote-debugging-port=0", url]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


VIDEOS = {
    "plain": Video(size=(640, 360)),
    "a phone's variable rate": Video(size=(640, 360), times=PHONE, time_base=Fraction(1, 90000)),
    "an edit list and late sound": Video(size=(640, 360), hidden_frames=10, sound=(Sound(shift=0.3),)),
    "turned": Video(size=(640, 360), turned=(90, False), sound=()),
}


# In every run. The plain video shows less, and test_rows.py compares the times of the variable rate.
FIRST = {"an edit list and late sound", "turned"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FIRST else [pytest.mark.slow]) for name in VIDEOS]
)
def test_browser_plays_the_result_to_the_end_and_shows_its_frames(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", VIDEOS[name])
    with av.open(str(source)) as container:
        seconds = (container.duration or 0) / 1_000_000
    require_played(source, seconds, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "seconds"),
    [
        (clock_files.flv_with_restart, 2.44),
        (clock_files.fragments_at_time_of_day, 2.42),
        (clock_files.avi_with_b_frames, 2.4),
        (clock_files.wrapping_clock, 2.42),
    ],
)
def test_browser_plays_a_result_with_corrected_times(
    make: clock_files.Maker, seconds: float, tmp_path: Path
) -> None:
    require_played(make(tmp_path), seconds, tmp_path)


def test_browser_shows_each_frame_of_a_result_with_copied_groups(tmp_path: Path) -> None:
    options = encoder(**{"x264-params": "scenecut=0:b-pyramid=none"})
    source = write(tmp_path / "in.mp4", Video(size=(320, 180), options=options))
    out = redact(source, (25, 28), (47, 47), cuts=(40,))
    assert equal_frames(source, out) == [*range(20), *range(30, 40), *range(50, 65)]
    require_result_played(out, 2.6, tmp_path, *range(65))


def require_played(source: Path, seconds: float, tmp_path: Path) -> None:
    """Raise AssertionError unless Chromium plays the result of the source as `require_result_played` expects."""
    out = tmp_path / "out.mp4"
    deface(Engine(), source, out, Options(), 1.0)
    require_result_played(out, seconds, tmp_path)


def require_result_played(result: Path, seconds: float, tmp_path: Path, *more: int) -> None:
    """Raise AssertionError unless Chromium plays the result for that time, and shows its frames.

    The first, a middle and the last frame are compared, and those with the numbers `more`.
    """
    if BROWSER is None:
        pytest.skip("chromium is not on the PATH. Run `apt-get install chromium`.")
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(result, site / "out.mp4")
    expected = pictures(result)
    chosen = sorted({0, len(expected) // 2, len(expected) - 1, *more})
    ends = [*(time for time, _ in expected[1:]), expected[-1][0] + 0.03]
    times = [(expected[n][0] + min(ends[n], expected[n][0] + 0.03)) / 2 for n in chosen]
    page = PAGE % GRID
    (site / "index.html").write_text(page.replace("TIMES", json.dumps(times)))
    with serve(site) as (url, reports), browser(f"{url}/index.html", tmp_path / "profile"):
        found = reports.get(timeout=120)
    assert "error" not in found, found
    assert found["end"] == pytest.approx(found["duration"], abs=0.2)
    assert found["duration"] == pytest.approx(seconds, abs=FRAME_SECONDS)
    for n, frame in zip(chosen, found["frames"], strict=True):
        shown = np.array(frame["pixels"], np.uint8).reshape(GRID[1], GRID[0], 4)[..., :3]
        assert frame["time"] == pytest.approx(expected[n][0], abs=TIME_SECONDS), n
        assert cv2.PSNR(shown, expected[n][1]) >= MIN_PSNR, (n, frame["time"])


def pictures(path: Path) -> list[tuple[float, np.ndarray]]:
    """Return the time of each frame, and a small RGB picture of it as displayed."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            image = orientation_of(frame).to_displayed(frame.to_ndarray(format="rgb24").astype(np.uint8))
            found.append((float(frame.time), cv2.resize(image, GRID, interpolation=cv2.INTER_AREA)))
    return found
