"""The parts of the benchmark. Each part runs its programs and returns rows with bounds.

The bounds are those of the project's speed and memory table. The benchmark fails if `required` is not met.
`goal` is only reported.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from defacer.engine.media import segment_writer
from tests.benchmarks.deface_tool import deface_program
from tests.benchmarks.running import Measurement, Program, Runner, run_timed
from tests.benchmarks.work import Videos, Work

# The engine's encoder settings. The options that x264 records in both results are compared, to detect a change.
PRESET = getattr(segment_writer, "PRESET", "veryfast")
CRF = "18"  # the engine's default --quality
PLAIN, OURS = "PyAV transcode", "De-facer, with a target"
# The lengths of shorter inputs, in seconds of each of the eight clips.
MEMORY_SECONDS = 2.5
GROWTH_SECONDS, GROWTH = 1.25, 10
ROUNDING = 0.05  # the table states "1.0x", which values that round to it meet


@dataclass(frozen=True)
class Bound:
    """A required value and an optional goal. `slack` allows for rounding."""

    required: float
    goal: float | None
    unit: str
    at_most: bool = True
    slack: float = 0.0

    def is_met_by(self, value: float) -> bool:
        return value <= self.required + self.slack if self.at_most else value >= self.required

    def is_goal_met_by(self, value: float) -> bool:
        if self.goal is None:
            return self.is_met_by(value)
        return value <= self.goal if self.at_most else value >= self.goal


@dataclass(frozen=True)
class Row:
    """A measure with a value per pair. The bound applies to the median."""

    name: str
    bound: Bound
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Works:
    """The inputs of the parts. `seconds` limits all of them, for a quick run."""

    seconds: float | None
    short_seconds: float | None

    @property
    def whole(self) -> Work:
        return Work(self._named("whole clips", None), seconds=self.seconds)

    @property
    def short(self) -> Work:
        """Return the input of the two slow programs."""
        seconds = self._limited(self.short_seconds)
        return Work(self._named("whole clips", seconds), seconds=seconds)

    def growing(self, repeats: int) -> Work:
        seconds = self._limited(GROWTH_SECONDS)
        times = f", repeated {repeats} times" if repeats > 1 else ""
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
    """The values that all parts share. deface is installed in `environments`. `folder` stores the files of a run."""

    runner: Runner
    videos: Videos
    works: Works
    target: Path
    environments: Path
    folder: Path

    def ours(self, with_target: bool = True) -> Program:
        engine = (sys.executable, "-m", "defacer", "run", "IN", "-o", "OUT")
        if with_target:
            return Program(OURS, (*engine, "--keep", str(self.target)))
        return Program("De-facer, hiding everyone", engine)


def against_transcode(bench: Bench) -> list[Row]:
    module = (sys.executable, "-m", "tests.benchmarks.transcode")
    plain = Program(PLAIN, (*module, "IN", "OUT", "--preset", PRESET, "--crf", CRF))
    video = bench.videos.create(bench.works.whole)
    theirs, ours = bench.runner.run_interleaved((plain, video), (bench.ours(), video))
    return [Row("wall time / that of a plain PyAV transcode", Bound(2.5, 1.5, "x"), _ratios(ours, theirs))]


def against_deface(bench: Bench) -> list[Row]:
    program = deface_program(bench.environments)
    video = bench.videos.create(bench.works.short)
    theirs, ours = bench.runner.run_interleaved((program, video), (bench.ours(with_target=False), video))
    name = f"wall time of deface 1.5.0 `--scale 640x360` / ours, hiding everyone ({video.work.name})"
    return [Row(name, Bound(4, 8, "x", at_most=False), _ratios(theirs, ours))]


def against_2019(bench: Bench) -> list[Row]:
    module = (sys.executable, "-m", "tests.benchmarks.algorithm_2019")
    program = Program("2019 algorithm", (*module, "IN", "OUT", "--target", str(bench.target)))
    video = bench.videos.create(bench.works.short)
    theirs, ours = bench.runner.run_interleaved((program, video), (bench.ours(), video))
    name = f"wall time of the 2019 algorithm / ours, with a target ({video.work.name})"
    return [Row(name, Bound(8, 15, "x", at_most=False), _ratios(theirs, ours))]


def check_of_result(bench: Bench) -> list[Row]:
    """Measure the check before publishing, including the frames that it renders again."""
    video = bench.videos.create(bench.works.whole)
    unchecked = Program(f"{OURS}, --verify off", (*bench.ours().command, "--verify", "off"))
    without, ours = bench.runner.run_interleaved((unchecked, video), (bench.ours(), video))
    return [
        Row(
            "wall time / that without the check of the result", Bound(1.15, None, "x"), _ratios(ours, without)
        )
    ]


def growth(bench: Bench) -> list[Row]:
    one, ten = (bench.videos.create(bench.works.growing(repeats)) for repeats in (1, GROWTH))
    short, long = bench.runner.run_interleaved((bench.ours(), one), (bench.ours(), ten))
    pairs = zip(short.runs, long.runs, strict=True)
    memory_ratios = tuple(many.peak_bytes / few.peak_bytes for few, many in pairs)
    return [
        Row(f"time of a {GROWTH} times longer video", Bound(10, None, "x", slack=0.5), _ratios(long, short)),
        Row(f"memory of a {GROWTH} times longer video", Bound(1, None, "x", slack=ROUNDING), memory_ratios),
    ]


def memory(bench: Bench) -> list[Row]:
    """Return the peak memory of all the engine's runs so far, of any length."""
    for size in ((1280, 720), (3840, 2160)):
        bench.runner.run_once(bench.ours(), bench.videos.create(bench.works.memory(*size)))
    return [
        Row("peak memory, 1280x720", Bound(1.2, 0.8, " GB"), _peaks(bench.runner.measurements, 720)),
        Row("peak memory, 3840x2160", Bound(2.5, 1.5, " GB"), _peaks(bench.runner.measurements, 2160)),
    ]


def profile(bench: Bench) -> list[Row]:
    """Write the table of stages into the folder. Return no rows."""
    video = bench.videos.create(bench.works.whole)
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.profile",
        str(video.path),
        str(bench.folder / "result.mp4"),
    ]
    command += ["--target", str(bench.target), "--table", str(profile_table(bench.folder))]
    run_timed(command, bench.folder / "log.txt")
    return []


def profile_table(folder: Path) -> Path:
    """Return the path of the table that the part `profile` writes."""
    return folder / "profile.md"


# In the order of their runs: memory evaluates the runs before it.
PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    "transcode": against_transcode,
    "deface": against_deface,
    "2019": against_2019,
    "check": check_of_result,
    "growth": growth,
    "memory": memory,
    "profile": profile,
}


def have_encoders_different_options(runner: Runner) -> bool:
    """Return whether the plain transcode and the engine used different x264 options, so that the ratio is void."""
    options = runner.encoder_options
    return PLAIN in options and OURS in options and options[PLAIN] != options[OURS]


def _ratios(over: Measurement, under: Measurement) -> tuple[float, ...]:
    """Return the ratio of each pair's times, without loading."""
    return tuple(longer / shorter for longer, shorter in zip(over.seconds, under.seconds, strict=True))


def _peaks(measured: Sequence[Measurement], height: int) -> tuple[float, ...]:
    """Return the highest peak in GB of 10^9 bytes."""
    ours = [
        job for job in measured if job.program.name.startswith("De-facer") and job.video.work.height == height
    ]
    return (max(job.peak_bytes for job in ours) / 1e9,)
