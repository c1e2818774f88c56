"""Compare the live page with the 2019 loop: frame rate and frame age at 640x360 in real time.

    DEFACER_EVAL=FOLDER python -m tests.benchmarks.live [--clip c02] [--seconds 20] [--rates 15,20]

The live page runs as a process. One WebSocket sends frames as the page does with a camera, and another receives them,
so the age covers the whole path. The 2019 loop runs MTCNN and FaceNet on every third frame in this process, without a
network. A frame that arrives during its work waits.
"""

import argparse
import base64
import os
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from tests.benchmarks.machine import machine_facts, use_cores
from tests.live.service import live_service

SIZE = (640, 360)
WARM_UP_SECONDS = 3.0
ONE_IN = 3
RATES, RATE_SECONDS = (15, 20, 25, 30), 20.0
ROUNDING_FRAMES, ROUNDING_SECONDS = 0.5, 0.05  # "25 fps at 0.5 s"


@dataclass(frozen=True)
class Measurement:
    """The ages in seconds of the frames that were output within `seconds` after the warm-up."""

    name: str
    rate: int
    seconds: float
    ages: list[float]

    def row(self) -> str:
        if not self.ages:
            return f"| {self.name} | {self.rate} | 0 | | | |"
        median, p95, maximum = np.percentile(self.ages, [50, 95, 100])
        return (
            f"| {self.name} | {self.rate} | {len(self.ages) / self.seconds:.1f} "
            f"| {median:.2f} s | {p95:.2f} s | {maximum:.2f} s |"
        )


def encode_frames(clip: Path, rate: int) -> list[bytes]:
    """Return the clip's frames at this rate as JPEG."""
    found, due = [], Fraction(0)
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            if Fraction(frame.pts) * Fraction(frame.time_base) < due:
                continue
            due += Fraction(1, rate)
            picture = cv2.resize(frame.to_ndarray(format="bgr24"), SIZE, interpolation=cv2.INTER_AREA)
            found.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
    return found


def frames_in_real_time(frames: list[bytes], rate: int, seconds: float) -> Iterator[tuple[float, bytes]]:
    """Yield each frame with its due time, in a loop. A late caller skips no frame."""
    started = time.monotonic()
    for number in range(round(seconds * rate)):
        due = started + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        yield due, frames[number % len(frames)]


def measure_live_page(frames: list[bytes], target: bytes, rate: int, seconds: float) -> Measurement:
    ages: list[tuple[float, float]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        live_service(
            Path(folder),
            "http://127.0.0.1:9",
            live_channels=False,
            live_frames_per_second=rate * 1.2,
            live_delay_seconds=0.5,
        ) as service,
    ):
        stream = service.start_stream(
            targets=[{"person": "target", "data": base64.b64encode(target).decode()}]
        )

        def receive() -> None:
            with service.open_socket("watch", stream) as connection:
                for message in connection:
                    if isinstance(message, bytes):
                        now = time.monotonic()
                        ages.append((now, now - struct.unpack_from(">d", message)[0]))

        listener = threading.Thread(target=receive, daemon=True)
        listener.start()
        with service.open_socket("camera", stream) as connection:
            started = time.monotonic()
            for came, jpeg in frames_in_real_time(frames, rate, WARM_UP_SECONDS + seconds):
                connection.send(struct.pack(">d", came) + jpeg)
            stopped = time.monotonic()
        listener.join(10)
    since = started + WARM_UP_SECONDS
    return Measurement(
        "De-facer live", rate, stopped - since, [age for now, age in ages if since <= now <= stopped]
    )


def measure_2019_loop(frames: list[bytes], target: Path, rate: int, seconds: float) -> Measurement:
    from tests.benchmarks.algorithm_2019 import Algorithm2019

    algorithm = Algorithm2019(target)
    first = cv2.imdecode(np.frombuffer(frames[0], np.uint8), cv2.IMREAD_COLOR)
    algorithm.redact(first.astype(np.uint8))
    ages, started = [], time.monotonic()
    for number, (came, jpeg) in enumerate(frames_in_real_time(frames, rate, seconds)):
        if number % ONE_IN == 0:
            picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            algorithm.redact(picture.astype(np.uint8))
            cv2.imencode(".jpg", picture)
            ages.append(time.monotonic() - came)
    return Measurement("2019 loop, one frame in three", rate, time.monotonic() - started, ages)


def highest_rate(clip: Path, target: Path, age_seconds: float) -> float:
    """Return the highest of RATES that the live page shows, at a median age of `age_seconds`; 0 for none."""
    reached = 0.0
    for rate in RATES:
        found = measure_live_page(encode_frames(clip, rate), target.read_bytes(), rate, RATE_SECONDS)
        print(found.row(), file=sys.stderr, flush=True)
        if len(found.ages) < (rate - ROUNDING_FRAMES) * found.seconds:
            break
        if np.median(found.ages) > age_seconds + ROUNDING_SECONDS:
            break
        reached = float(rate)
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.live", description=__doc__, allow_abbrev=False
    )
    parser.add_argument(
        "--clip", default="c02", help="clip of DEFACER_EVAL with one or two faces (default: c02)"
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rates", default="15,20", help="frames per second of the camera (default: 15,20)")
    options = parser.parse_args()
    if "DEFACER_EVAL" not in os.environ:
        print("error: DEFACER_EVAL is not set. Set it to the folder of real clips.", file=sys.stderr)
        return 2
    folder = Path(os.environ["DEFACER_EVAL"]) / "clips"
    target = next(folder.glob(f"{options.clip}.target.*"))
    print("\n".join(machine_facts(use_cores(2))), "\n")
    print("| program | frames per second in | out | age, median | 95 % | max |\n|---|---|---|---|---|---|")
    for rate in map(int, options.rates.split(",")):
        frames = encode_frames(folder / f"{options.clip}.mp4", rate)
        print(measure_live_page(frames, target.read_bytes(), rate, options.seconds).row(), flush=True)
        print(measure_2019_loop(frames, target, rate, options.seconds).row(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
