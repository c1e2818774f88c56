"""What is measured: each part runs its programs and gives rows to judge.

The bounds are those of the project's speed and memory table: `must` is held or the benchmark fails, `reach` is told.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from defacer.engine.media import segment_writer
from tests.benchmarks.deface_tool import deface_program
from tests.benchmarks.running import Measured, Program, Runner, timed
from tests.benchmarks.work import Videos, Work

# The engine's encoder settings; what x264 notes in both results is compared, so a change there is noticed.
PRESET = getattr(segment_writer, "PRESET", "veryfast")
CRF = "18"  # the engine's default --quality
PLAIN, OURS = "PyAV transcode", "De-facer, with a target"
# Works of other lengths than the whole clips, in seconds of each of the eight clips.
MEMORY_SECONDS = 2.5
GROWTH_SECONDS, GROWTH = 1.25, 10
LEAST = 0.05  # the table gives "10x" and "1.0x": what rounds to these holds them


@dataclass(frozen=True)
class Bound:
    """What is asked for; `reach` None where only `must` is given. `slack` is what rounding forgives."""

    must: float
    reach: float | None
    unit: str
    at_most: bool = True
    slack: float = 0.0

    def holds(self, value: float) -> bool:
        return value <= self.must + self.slack if self.at_most else value >= self.must

    def reached(self, value: float) -> bool:
        if self.reach is None:
            return self.holds(value)
        return value <= self.reach if self.at_most else value >= self.reach


@dataclass(frozen=True)
class Row:
    """One measure with a value for each pair; its median is judged."""

    what: str
    bound: Bound
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Works:
    """Which files the parts work on. `seconds` limits every one of them, for a quick try."""

    seconds: float | None
    short_seconds: float | None

    @property
    def whole(self) -> Work:
        return Work(self._named("whole clips", None), seconds=self.seconds)

    @property
    def short(self) -> Work:
        """For the two slow programs."""
        seconds = self._limited(self.short_seconds)
        return Work(self._named("whole clips", seconds), seconds=seconds)

    def growing(self, repeats: int) -> Work:
        seconds = self._limited(GROWTH_SECONDS)
        times = f", {repeats} times over" if repeats > 1 else ""
        return Work(self._named("", seconds) + times, seconds=seconds, repeats=repeats)

    def memory(self, width: int, height: int) -> Work:
        seconds = self._limited(MEMORY_SECONDS)
        return Work(f"{self._named('', seconds)}, {width}x{height}", width, height, seconds)

    def _limited(self, seconds: float | None) -> float | None:
        return min((s for s in (seconds, self.seconds) if s is not None), default=None)

    def _named(self, whole: str, seconds: float | None) -> str:
        seconds = self._limited(seconds)
        return whole if seconds is None else f"first {seconds:g} s of each clip"


@dataclass(frozen=True)
class Bench:
    """What the parts share. `environments` is where deface is installed, `folder` takes files of one run."""

    runner: Runner
    videos: Videos
    works: Works
    target: Path
    environments: Path
    folder: Path

    def ours(self, with_target: bool = True) -> Program:
        engine = (sys.executable, "-m", "defacer.engine", "IN", "OUT")
        if with_target:
            return Program(OURS, (*engine, "--target", str(self.target)))
        return Program("De-facer, hiding everyone", engine)


def against_transcode(bench: Bench) -> list[Row]:
    module = (sys.executable, "-m", "tests.benchmarks.transcode")
    plain = Program(PLAIN, (*module, "IN", "OUT", "--preset", PRESET, "--crf", CRF))
    video = bench.videos.make(bench.works.whole)
    theirs, ours = bench.runner.interleaved((plain, video), (bench.ours(), video))
    return [Row("wall time / that of a plain PyAV transcode", Bound(2.5, 1.5, "x"), _ratios(ours, theirs))]


def against_deface(bench: Bench) -> list[Row]:
    program = deface_program(bench.environments)
    video = bench.videos.make(bench.works.short)
    theirs, ours = bench.runner.interleaved((program, video), (bench.ours(with_target=False), video))
    what = f"wall time of deface 1.5.0 `--scale 640x360` / ours, hiding everyone ({video.work.name})"
    return [Row(what, Bound(4, 8, "x", at_most=False), _ratios(theirs, ours))]


def against_2019(bench: Bench) -> list[Row]:
    module = (sys.executable, "-m", "tests.benchmarks.algorithm_2019")
    program = Program("2019 algorithm", (*module, "IN", "OUT", "--target", str(bench.target)))
    video = bench.videos.make(bench.works.short)
    theirs, ours = bench.runner.interleaved((program, video), (bench.ours(), video))
    what = f"wall time of the 2019 algorithm / ours, with a target ({video.work.name})"
    return [Row(what, Bound(8, 15, "x", at_most=False), _ratios(theirs, ours))]


def check_of_result(bench: Bench) -> list[Row]:
    """What the check before publishing costs, with all that is rendered again because of it."""
    video = bench.videos.make(bench.works.whole)
    unchecked = Program(f"{OURS}, --verify off", (*bench.ours().command, "--verify", "off"))
    without, ours = bench.runner.interleaved((unchecked, video), (bench.ours(), video))
    return [
        Row(
            "wall time / that without the check of the result", Bound(1.15, None, "x"), _ratios(ours, without)
        )
    ]


def growth(bench: Bench) -> list[Row]:
    one, ten = (bench.videos.make(bench.works.growing(repeats)) for repeats in (1, GROWTH))
    short, long = bench.runner.interleaved((bench.ours(), one), (bench.ours(), ten))
    pairs = zip(short.runs, long.runs, strict=True)
    memory = tuple(many.peak_bytes / few.peak_bytes for few, many in pairs)
    return [
        Row(f"time of a {GROWTH} times longer video", Bound(10, None, "x", slack=0.5), _ratios(long, short)),
        Row(f"memory of a {GROWTH} times longer video", Bound(1, None, "x", slack=LEAST), memory),
    ]


def memory(bench: Bench) -> list[Row]:
    """The peaks of all runs of the engine so far count, whatever their length."""
    for size in ((1280, 720), (3840, 2160)):
        bench.runner.once(bench.ours(), bench.videos.make(bench.works.memory(*size)))
    return [
        Row("peak memory, 1280x720", Bound(1.2, 0.8, " GB"), _peaks(bench.runner.measured, 720)),
        Row("peak memory, 3840x2160", Bound(2.5, 1.5, " GB"), _peaks(bench.runner.measured, 2160)),
    ]


def profile(bench: Bench) -> list[Row]:
    """Writes the table of stages into the folder; judges nothing."""
    video = bench.videos.make(bench.works.whole)
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.profile",
        str(video.path),
        str(bench.folder / "result.mp4"),
    ]
    command += ["--target", str(bench.target), "--table", str(profile_table(bench.folder))]
    timed(command, bench.folder / "log.txt")
    return []


def profile_table(folder: Path) -> Path:
    """Where the part `profile` leaves its table."""
    return folder / "profile.md"


# In the order in which they run: memory looks at the runs before it.
PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    "transcode": against_transcode,
    "deface": against_deface,
    "2019": against_2019,
    "check": check_of_result,
    "growth": growth,
    "memory": memory,
    "profile": profile,
}


def encoders_differ(runner: Runner) -> bool:
    """Whether x264 was set otherwise in the plain transcode than in the engine: then their ratio says nothing."""
    noted = runner.encoder_options
    return PLAIN in noted and OURS in noted and noted[PLAIN] != noted[OURS]


def _ratios(over: Measured, under: Measured) -> tuple[float, ...]:
    """Pair by pair, without loading."""
    return tuple(one / other for one, other in zip(over.seconds, under.seconds, strict=True))


def _peaks(measured: Sequence[Measured], height: int) -> tuple[float, ...]:
    """The highest peak, in GB of 10^9 bytes."""
    ours = [
        job for job in measured if job.program.name.startswith("De-facer") and job.video.work.height == height
    ]
    return (max(job.peak_bytes for job in ours) / 1e9,)
