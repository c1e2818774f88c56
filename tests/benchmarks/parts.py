"""The parts of the benchmark. Each part runs its programs and returns rows with bounds.

`bounds.py` has the bounds. The benchmark fails if a required one is not met. Goals are only reported.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import bounds
from tests.benchmarks.bounds import Bound
from tests.benchmarks.deface_tool import deface_program
from tests.benchmarks.emulator import running_emulator
from tests.benchmarks.live import highest_rate
from tests.benchmarks.running import Measurement, Program, Runner, run_timed
from tests.benchmarks.work import Videos, Work

PLAIN, OURS = "PyAV transcode", "De-facer, with a target"
# The lengths of shorter inputs, in seconds of each of the eight clips.
MEMORY_SECONDS = 2.5
GROWTH_SECONDS, GROWTH = 1.25, 10
DROP_FRAMES = 330  # 10 s


@dataclass(frozen=True)
class Row:
    """A measure with a value per pair. The bound applies to the median.

    `cpu_values` are the ratios of processor time, which other programs disturb less.
    """

    name: str
    bound: Bound
    values: tuple[float, ...]
    cpu_values: tuple[float, ...] = ()

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

    @property
    def drop(self) -> Work:
        """Return the input of the emulator."""
        return Work("first 10 s", seconds=self.seconds, frames=DROP_FRAMES)

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
    """The values that all parts share. deface is installed in `environments`. `folder` stores the files of a run.

    `live_clip` shows two faces, one of them that of `target`.
    """

    runner: Runner
    videos: Videos
    works: Works
    target: Path
    live_clip: Path
    environments: Path
    folder: Path

    def ours(self, with_target: bool = True) -> Program:
        engine = (sys.executable, "-m", "defacer", "run", "IN", "-o", "OUT")
        if with_target:
            return Program(OURS, (*engine, "--keep", str(self.target)))
        return Program("De-facer, hiding everyone", engine)


def against_transcode(bench: Bench) -> list[Row]:
    module = (sys.executable, "-m", "tests.benchmarks.transcode")
    plain = Program(PLAIN, (*module, "IN", "OUT"))
    video = bench.videos.create(bench.works.whole)
    theirs, ours = bench.runner.run_interleaved((plain, video), (bench.ours(), video))
    return [_row("wall time / that of a plain PyAV transcode", bounds.AGAINST_TRANSCODE, ours, theirs)]


def against_deface(bench: Bench) -> list[Row]:
    program = deface_program(bench.environments)
    video = bench.videos.create(bench.works.short)
    theirs, ours = bench.runner.run_interleaved((program, video), (bench.ours(with_target=False), video))
    name = f"wall time of deface 1.5.0 `--scale 640x360` / ours, hiding everyone ({video.work.name})"
    return [_row(name, bounds.AGAINST_DEFACE, theirs, ours)]


def against_2019(bench: Bench) -> list[Row]:
    module = (sys.executable, "-m", "tests.benchmarks.algorithm_2019")
    program = Program("2019 algorithm", (*module, "IN", "OUT", "--target", str(bench.target)))
    video = bench.videos.create(bench.works.short)
    theirs, ours = bench.runner.run_interleaved((program, video), (bench.ours(), video))
    name = f"wall time of the 2019 algorithm / ours, with a target ({video.work.name})"
    return [_row(name, bounds.AGAINST_2019, theirs, ours)]


def check_of_result(bench: Bench) -> list[Row]:
    """Measure the check before publishing, including the frames that it renders again."""
    video = bench.videos.create(bench.works.whole)
    unchecked = Program(f"{OURS}, --verify off", (*bench.ours().command, "--verify", "off"))
    without, ours = bench.runner.run_interleaved((unchecked, video), (bench.ours(), video))
    return [_row("wall time / that without the check of the result", bounds.CHECK, ours, without)]


def growth(bench: Bench) -> list[Row]:
    one, ten = (bench.videos.create(bench.works.growing(repeats)) for repeats in (1, GROWTH))
    short, long = bench.runner.run_interleaved((bench.ours(), one), (bench.ours(), ten))
    pairs = zip(short.runs, long.runs, strict=True)
    memory_ratios = tuple(many.peak_bytes / few.peak_bytes for few, many in pairs)
    return [
        _row(f"time of a {GROWTH} times longer video", bounds.GROWTH_TIME, long, short),
        Row(f"memory of a {GROWTH} times longer video", bounds.GROWTH_MEMORY, memory_ratios),
    ]


def memory(bench: Bench) -> list[Row]:
    """Return the peak memory of all the engine's runs so far, of any length."""
    for size in ((1280, 720), (3840, 2160)):
        bench.runner.run_once(bench.ours(), bench.videos.create(bench.works.memory(*size)))
    return [
        Row("peak memory, 1280x720", bounds.MEMORY_720P, _peaks(bench.runner.measurements, 720)),
        Row("peak memory, 3840x2160", bounds.MEMORY_4K, _peaks(bench.runner.measurements, 2160)),
    ]


def emulator(bench: Bench) -> list[Row]:
    """Measure the start of the emulator, and the time from an upload to the saved result.

    All times are with loading. The first uploads are not counted, because each function loads its
    models at its first message.
    """
    video = bench.videos.create(bench.works.drop)
    with running_emulator(bench.folder) as (start_seconds, server, upload):
        command = (*upload, "IN", "--keep", str(bench.target), "-o", "OUT")
        dropped = Program(f"{OURS}, on the emulator", command, server)
        on_emulator, alone = bench.runner.run_interleaved(
            (dropped, video), (bench.ours(), video), with_loading=True
        )
    return [
        Row("start of the emulator", bounds.EMULATOR_START, (start_seconds,)),
        _row(
            "time from drop to result on the emulator / that of the engine alone, 10 s",
            bounds.EMULATOR_DROP,
            on_emulator,
            alone,
        ),
    ]


def live(bench: Bench) -> list[Row]:
    """Measure which frame rate the live page shows in time."""
    rate = highest_rate(bench.live_clip, bench.target, bounds.LIVE_AGE_SECONDS)
    name = f"live, 640x360, 2 faces: highest rate shown {bounds.LIVE_AGE_SECONDS} s later"
    return [Row(name, bounds.LIVE_RATE, (rate,))]


def sizes(bench: Bench) -> list[Row]:
    """Measure the size of each clip's result, and write the table of sizes into the folder."""
    ratios = []
    lines = ["| clip | source | result | result / source |", "|---|---|---|---|"]
    for clip in bench.videos.clips:
        out = bench.runner.run_on(bench.ours(with_target=False), clip)
        source, result = clip.stat().st_size, out.stat().st_size
        ratios.append(result / source)
        lines.append(f"| {clip.stem} | {source / 1e6:.2f} MB | {result / 1e6:.2f} MB | {ratios[-1]:.2f}x |")
    sizes_table(bench.folder).write_text("\n".join(lines) + "\n")
    return [Row("size of the result / that of its source, largest clip", bounds.SIZE, (max(ratios),))]


def profile(bench: Bench) -> list[Row]:
    """Write the table of stages into the folder. Return no rows."""
    video = bench.videos.create(bench.works.whole)
    out, table = bench.folder / "result.mp4", profile_table(bench.folder)
    for old in (out, table):
        old.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.benchmarks.profile", str(video.path), str(out)]
    command += ["--target", str(bench.target), "--table", str(table)]
    run_timed(command, bench.folder / "log.txt")
    return []


def sizes_table(folder: Path) -> Path:
    """Return the path of the table that the part `sizes` writes."""
    return folder / "sizes.md"


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
    "emulator": emulator,
    "live": live,
    "sizes": sizes,
    "profile": profile,
}

# The parts that write a table of their own into the folder.
TABLES = {"sizes": sizes_table, "profile": profile_table}


def have_encoders_different_options(runner: Runner) -> bool:
    """Return whether the plain transcode and the engine used different x264 options, so that the ratio is void."""
    options = runner.encoder_options
    return PLAIN in options and OURS in options and options[PLAIN] != options[OURS]


def _row(name: str, bound: Bound, over: Measurement, under: Measurement) -> Row:
    """Return the ratios of two programs' times."""
    cpu = zip(over.cpu_seconds, under.cpu_seconds, strict=True)
    return Row(name, bound, _ratios(over, under), tuple(more / less for more, less in cpu))


def _ratios(over: Measurement, under: Measurement) -> tuple[float, ...]:
    """Return the ratio of each pair's times, without loading."""
    return tuple(longer / shorter for longer, shorter in zip(over.seconds, under.seconds, strict=True))


def _peaks(measured: Sequence[Measurement], height: int) -> tuple[float, ...]:
    """Return the highest peak in GB of 10^9 bytes."""
    ours = [
        job for job in measured if job.program.name.startswith("De-facer") and job.video.work.height == height
    ]
    return (max(job.peak_bytes for job in ours) / 1e9,)
