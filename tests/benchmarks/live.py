"""The live page beside the 2019 loop: frames a second and how old they are, 640x360, in real time.

    DEFACER_EVAL=FOLDER python -m tests.benchmarks.live [--clip c02] [--seconds 20] [--rates 15,20]

Ours: the service as a process, frames sent by a WebSocket as the page sends its camera's, and awaited on another one:
the age is that of the whole way. The 2019 loop: one frame in three, MTCNN and FaceNet on each, in this process,
without any network; a frame that comes while it works waits.
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


@dataclass(frozen=True)
class Measured:
    """`ages` in seconds, of each frame that came out after the warming up, in `seconds`."""

    name: str
    rate: int
    seconds: float
    ages: list[float]

    def row(self) -> str:
        if not self.ages:
            return f"| {self.name} | {self.rate} | 0 | | | |"
        median, late, most = np.percentile(self.ages, [50, 95, 100])
        return (
            f"| {self.name} | {self.rate} | {len(self.ages) / self.seconds:.1f} "
            f"| {median:.2f} s | {late:.2f} s | {most:.2f} s |"
        )


def jpegs(clip: Path, rate: int) -> list[bytes]:
    """The clip's frames at that rate."""
    found, due = [], Fraction(0)
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            if Fraction(frame.pts) * Fraction(frame.time_base) < due:
                continue
            due += Fraction(1, rate)
            picture = cv2.resize(frame.to_ndarray(format="bgr24"), SIZE, interpolation=cv2.INTER_AREA)
            found.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
    return found


def in_time(frames: list[bytes], rate: int, seconds: float) -> Iterator[tuple[float, bytes]]:
    """Each frame with the time at which it came, over and over; none is left out if the caller is late."""
    begun = time.monotonic()
    for number in range(round(seconds * rate)):
        due = begun + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        yield due, frames[number % len(frames)]


def ours(frames: list[bytes], target: bytes, rate: int, seconds: float) -> Measured:
    ages: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        names = ("no-intake", "no-work", "no-output")
        with live_service(
            Path(folder), "http://127.0.0.1:9", names, live_frames_per_second=rate * 1.2
        ) as service:
            begun = service.begin(targets=[{"person": "target", "data": base64.b64encode(target).decode()}])

            def receive() -> None:
                with service.socket(f"/streams/{begun['id']}/watch") as connection:
                    for message in connection:
                        if isinstance(message, bytes):
                            now = time.monotonic()
                            ages.append((now, now - struct.unpack_from(">d", message)[0]))

            listener = threading.Thread(target=receive, daemon=True)
            listener.start()
            with service.socket(f"/streams/{begun['id']}/camera") as connection:
                connection.send(begun["key"])
                started = time.monotonic()
                for came, jpeg in in_time(frames, rate, WARM_UP_SECONDS + seconds):
                    connection.send(struct.pack(">d", came) + jpeg)
                stopped = time.monotonic()
            listener.join(10)
    since = started + WARM_UP_SECONDS
    return Measured(
        "De-facer live", rate, stopped - since, [age for now, age in ages if since <= now <= stopped]
    )


def loop_2019(frames: list[bytes], target: Path, rate: int, seconds: float) -> Measured:
    from tests.benchmarks.algorithm_2019 import Algorithm2019

    algorithm = Algorithm2019(target)
    first = cv2.imdecode(np.frombuffer(frames[0], np.uint8), cv2.IMREAD_COLOR)
    algorithm.hide(first)
    ages, started = [], time.monotonic()
    for number, (came, jpeg) in enumerate(in_time(frames, rate, seconds)):
        if number % ONE_IN == 0:
            picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            algorithm.hide(picture)
            cv2.imencode(".jpg", picture)
            ages.append(time.monotonic() - came)
    return Measured("2019 loop, one frame in three", rate, time.monotonic() - started, ages)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.live", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--clip", default="c02", help="a clip of DEFACER_EVAL with one or two faces (c02)")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rates", default="15,20", help="frames a second that the camera sends (15,20)")
    options = parser.parse_args()
    if "DEFACER_EVAL" not in os.environ:
        print("live: set DEFACER_EVAL to the folder of real clips.", file=sys.stderr)
        return 2
    folder = Path(os.environ["DEFACER_EVAL"]) / "clips"
    target = next(folder.glob(f"{options.clip}.target.*"))
    print("\n".join(machine_facts(use_cores(2))), "\n")
    print("| program | frames a second in | out | age, median | 95 % | most |\n|---|---|---|---|---|---|")
    for rate in map(int, options.rates.split(",")):
        frames = jpegs(folder / f"{options.clip}.mp4", rate)
        print(ours(frames, target.read_bytes(), rate, options.seconds).row(), flush=True)
        print(loop_2019(frames, target, rate, options.seconds).row(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
