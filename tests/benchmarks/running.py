"""Run programs as processes, and measure their time and the peak memory of their process tree."""

import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av

from tests.benchmarks.work import Video

ROOT = Path(__file__).resolve().parents[2]
LOAD_RUNS = 3
SAMPLE_SECONDS = 0.1
PAGE_BYTES = resource.getpagesize()
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
X264_OPTIONS = re.compile(rb"x264 - core[^\0]*?options: ([^\0]*)")


class BenchmarkError(Exception):
    """A program failed, or a requirement of the benchmark is missing."""


@dataclass(frozen=True)
class Program:
    """A command line with `IN` and `OUT` as placeholders for the input and output video.

    The processor time includes that of the process `server` and its descendants, which work for the command.
    """

    name: str
    command: tuple[str, ...]
    server: int | None = None

    def arguments(self, video: Path, out: Path) -> list[str]:
        places = {"IN": str(video), "OUT": str(out)}
        return [places.get(part, part) for part in self.command]


@dataclass(frozen=True)
class Run:
    """The wall time, the processor time (user and system) and the peak resident memory of a run's process tree."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


NO_LOAD = Run(0, 0, 0)


@dataclass
class Measurement:
    """All runs of a program on a video, and its run on a video of one frame (`load`)."""

    program: Program
    video: Video
    load: Run
    runs: list[Run] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """Return the time of each run without loading. Raise BenchmarkError if loading took as long as a run."""
        if min(run.seconds for run in self.runs) <= self.load.seconds:
            raise BenchmarkError(
                f"{self.program.name} took no longer for {self.video.work.name} than for one frame "
                f"({self.load.seconds:.1f} s): measure longer videos on an idle machine."
            )
        return [run.seconds - self.load.seconds for run in self.runs]

    @property
    def cpu_seconds(self) -> list[float]:
        """Return the processor time of each run without loading."""
        return [run.cpu_seconds - self.load.cpu_seconds for run in self.runs]

    @property
    def peak_bytes(self) -> int:
        return max(run.peak_bytes for run in self.runs)


class Runner:
    """Run programs one at a time and collect the measurements for the table.

    `folder` stores results and logs. `one_frame` is the video for measuring the time of loading.
    """

    def __init__(self, folder: Path, one_frame: Video, pairs: int):
        self._folder = folder
        self._log = folder / "log.txt"
        self._one_frame = one_frame
        self._pairs = pairs
        self._loads: dict[Program, Run] = {}
        self.measurements: list[Measurement] = []
        self.encoder_options: dict[str, str] = {}

    def run_interleaved(self, *jobs: tuple[Program, Video], with_loading: bool = False) -> list[Measurement]:
        """Run all jobs in turn several times, so that a slow phase of the machine affects each of them.

        The times are without those of loading, except `with_loading`.
        """
        loads = [self._load(program) for program, _ in jobs]
        if with_loading:
            loads = [NO_LOAD for _ in jobs]
        found = [Measurement(*job, load) for job, load in zip(jobs, loads, strict=True)]
        self.measurements += found
        for number in range(1, self._pairs + 1):
            for job in found:
                run = self._run(job.program, job.video)
                job.runs.append(run)
                say(
                    f"{number} of {self._pairs}: {job.program.name}, {job.video.work.name}: {_format_run(run)}"
                )
        return found

    def run_once(self, program: Program, video: Video) -> Measurement:
        """Run a job once, to measure its memory."""
        job = Measurement(program, video, self._load(program), [self._run(program, video)])
        self.measurements.append(job)
        say(f"{program.name}, {video.work.name}: {_format_run(job.runs[0])}")
        return job

    def run_on(self, program: Program, video: Path) -> Path:
        """Run a program once on any video, and return its result, which the next run replaces."""
        out = self._result()
        run = run_timed(program.arguments(video, out), self._log)
        say(f"{program.name}, {video.name}: {_format_run(run)}")
        return out

    def _load(self, program: Program) -> Run:
        """Return the run with the median wall time on a video of one frame."""
        if program not in self._loads:
            self._run(
                program, self._one_frame
            )  # not counted, because it downloads weights and fills the disk cache
            runs = [self._run(program, self._one_frame) for _ in range(min(LOAD_RUNS, self._pairs))]
            self._loads[program] = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
            say(f"{program.name}, one frame: {_format_run(self._loads[program])}")
        return self._loads[program]

    def _run(self, program: Program, video: Video) -> Run:
        out = self._result()
        run = run_timed(program.arguments(video.path, out), self._log, program.server)
        if not out.exists():
            raise BenchmarkError(f"{program.name} succeeded but wrote no video: see {self._log}.")
        frames, options = _frames_and_encoder(out)
        if frames != video.frames:
            raise BenchmarkError(
                f"{program.name} wrote {frames} frames of {video.frames}, so the comparison is not fair."
            )
        # Those of the first run, on the single frame, because x264's number of threads depends on the size.
        self.encoder_options.setdefault(program.name, options)
        return run

    def _result(self) -> Path:
        """Return the path of the next result, and delete the last one."""
        out = self._folder / "result.mp4"
        out.unlink(missing_ok=True)
        return out


def run_timed(command: Sequence[str], log: Path, server: int | None = None) -> Run:
    """Run a command from the repository's root without a GPU. Raise BenchmarkError with its last line of output.

    The processor time includes that of the process `server`.
    """
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    server_before = _tree_cpu_seconds(server)
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        with _killed_on_exit(process), _Sampler(process.pid) as sampler:
            # Like `wait`, but wait4 also returns the child's memory.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    if process.returncode:
        output_lines = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
        raise BenchmarkError(
            f"{' '.join(command)} ended with status {process.returncode}: {output_lines[-1]}"
        )
    cpu_seconds = usage.ru_utime + usage.ru_stime + _tree_cpu_seconds(server) - server_before
    return Run(seconds, cpu_seconds, max(sampler.peak_bytes, usage.ru_maxrss * 1024))


def say(line: str) -> None:
    """Print progress to stderr."""
    print(line, file=sys.stderr, flush=True)


def _format_run(run: Run) -> str:
    return f"{run.seconds:.1f} s, processor {run.cpu_seconds:.1f} s, {run.peak_bytes / 1e6:.0f} MB"


@contextmanager
def _killed_on_exit(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the process if the block ends first (Ctrl-C)."""
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()


class _Sampler:
    """Sum up the resident memory of a process and its descendants ten times per second.

    getrusage returns only the largest process of a tree.
    """

    def __init__(self, pid: int):
        self.peak_bytes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "_Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, _tree_bytes(self._pid))


def _tree_bytes(pid: int) -> int:
    """Return the resident bytes from Linux's /proc, or 0 for a process that has ended."""
    process = Path("/proc") / str(pid)
    try:
        own = int((process / "statm").read_text().split()[1]) * PAGE_BYTES
        children = _children(process)
    except (OSError, IndexError):
        return 0
    return own + sum(map(_tree_bytes, children))


def _tree_cpu_seconds(pid: int | None) -> float:
    """Return the processor time of a process and its descendants; 0 for no process, or one that has ended."""
    process = Path("/proc") / str(pid)
    try:
        # The fields after the name, which can contain spaces: see proc(5). Children that have ended count as well.
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        own = sum(map(int, fields[11:15])) / CLOCK_TICKS
        children = _children(process)
    except (OSError, IndexError):
        return 0.0
    return own + sum(map(_tree_cpu_seconds, children))


def _children(process: Path) -> list[int]:
    return [int(child) for task in process.glob("task/*/children") for child in task.read_text().split()]


def _frames_and_encoder(path: Path) -> tuple[int, str]:
    """Return a result's number of frames, and the x264 options in its first frame ("" for another encoder)."""
    frames, options = 0, ""
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size and not frames:
                noted = X264_OPTIONS.search(bytes(packet))
                options = noted[1].decode() if noted else ""
            frames += bool(packet.size)
    return frames, options
