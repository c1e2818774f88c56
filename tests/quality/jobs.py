"""The clips as jobs of a running emulator, each with its target's picture and with no target."""

import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from defacer.commands.app import main as emulator_command
from defacer.commands.common.result_files import report_beside
from defacer.pipeline.documents.report import JobReport
from defacer.report.tracks import TrackRecord
from defacer_emulator.emulator import Emulator, EmulatorOptions, PubSubKind
from tests.quality.clips import Clip
from tests.quality.figures import percent, pooled, table
from tests.quality.grades import Grades, grades_of

MAX_LEAK = 0.0005  # of all clips together, with a target, and hiding everyone
MIN_KEPT, MIN_KEPT_OF_A_CLIP = 0.985, 0.90
MAX_OVER_MASKING = 0.01


Kept = tuple[int, int]  # start and end of a track


@dataclass(frozen=True)
class Job:
    """A published result: its grades, its report, and the seconds from upload to result."""

    grades: Grades
    report: JobReport
    seconds: float

    @property
    def check(self) -> str:
        """Return what the second detector found in the redacted frames, "-" if it did not run."""
        found = self.report.checked
        if not found:
            return "-"
        passed = found.passed_as_target + found.passed_as_unlikely
        return f"{len(found.tracks)} masked, {passed} passed in {found.frames} frames"


@dataclass(frozen=True)
class ClipJobs:
    """A clip's two jobs."""

    clip: str
    target: Job
    everyone: Job


def kept_tracks(tracks: Iterable[TrackRecord]) -> list[Kept]:
    """Return the kept ones of a report's tracks."""
    return [(track.start, track.end) for track in tracks if track.decision == "keep"]


def run_jobs(
    clips: Sequence[Clip], score: ModuleType, segment_seconds: float, pubsub: PubSubKind
) -> list[ClipJobs]:
    """Run each clip through one emulator, twice, and grade the results by their pixels."""
    variables = (("DEFACER_SEGMENT_SECONDS", str(segment_seconds)),)
    done = []
    with tempfile.TemporaryDirectory(prefix="defacer-quality-") as temporary:
        folder = Path(temporary)
        state = folder / "emulator"
        with Emulator(EmulatorOptions(state, pubsub, variables=variables)):
            for clip in clips:
                target = ("--keep", str(clip.target_picture)) if clip.target_picture else ()
                done.append(
                    ClipJobs(
                        clip.name,
                        _job(clip, state, folder / f"{clip.name}-target.mp4", target, score),
                        _job(clip, state, folder / f"{clip.name}-everyone.mp4", (), score),
                    )
                )
                print(f"{clip.name} done", file=sys.stderr)
    return done


def _job(clip: Clip, state: Path, out: Path, target: Sequence[str], score: ModuleType) -> Job:
    started = time.monotonic()
    code = emulator_command(
        [
            "emulator",
            "upload",
            str(clip.video),
            "--channel",
            out.stem,
            *target,
            "-o",
            str(out),
            "--dir",
            str(state),
        ]
    )
    if code:
        raise SystemExit(f"error: {clip.name}: the job has no result (exit code {code}). Read its log above.")
    seconds = time.monotonic() - started
    report = JobReport.from_bytes(report_beside(out).read_bytes())
    return Job(grades_of(clip.truth, clip.video, out, score, hides_all=not target), report, seconds)


def jobs_table(rows: Sequence[ClipJobs]) -> str:
    head = [
        "clip", "leaked", "target kept", "leaked, hiding everyone", "over-masking", "unchanged", "found by the check",
        "found, hiding everyone", "seconds",
    ]  # fmt: skip
    lines = [
        [
            row.clip, row.target.grades.leaked, row.target.grades.kept, row.everyone.grades.leaked,
            percent(row.target.grades.over_masking), "yes" if _is_unchanged(row) else "NO", row.target.check,
            row.everyone.check,
            f"{row.target.seconds:.0f}, {row.everyone.seconds:.0f}",
        ]
        for row in rows
    ]  # fmt: skip
    everything = [
        "all", pooled(row.target.grades.leaked for row in rows), pooled(row.target.grades.kept for row in rows),
        pooled(row.everyone.grades.leaked for row in rows), percent(_over_masking(rows)),
        "yes" if all(map(_is_unchanged, rows)) else "NO", "", "",
        f"{sum(row.target.seconds for row in rows):.0f}, {sum(row.everyone.seconds for row in rows):.0f}",
    ]  # fmt: skip
    return table(head, [*lines, everything])


def job_problems(rows: Sequence[ClipJobs]) -> list[str]:
    """Return the bounds that are not held, in words."""
    problems = [f"{row.clip}: frames, times, size or sound changed" for row in rows if not _is_unchanged(row)]
    leaked = {
        "with a target": pooled(row.target.grades.leaked for row in rows),
        "hiding everyone": pooled(row.everyone.grades.leaked for row in rows),
    }
    problems += [
        f"leak {how}: {share}, at most {percent(MAX_LEAK)}"
        for how, share in leaked.items()
        if share.value > MAX_LEAK
    ]
    targets = [(row.clip, row.target.grades.kept) for row in rows if row.target.grades.kept.of]
    problems += [
        f"target kept in {clip}: {share}, at least {percent(MIN_KEPT_OF_A_CLIP)}"
        for clip, share in targets
        if share.value < MIN_KEPT_OF_A_CLIP
    ]
    all_kept = pooled(share for _, share in targets)
    if targets and all_kept.value < MIN_KEPT:
        problems.append(f"target kept in all clips: {all_kept}, at least {percent(MIN_KEPT)}")
    if _over_masking(rows) > MAX_OVER_MASKING:
        problems.append(f"over-masking {percent(_over_masking(rows))}, at most {percent(MAX_OVER_MASKING)}")
    return problems


def _is_unchanged(row: ClipJobs) -> bool:
    return row.target.grades.is_unchanged and row.everyone.grades.is_unchanged


def _over_masking(rows: Sequence[ClipJobs]) -> float:
    return float(sum(row.target.grades.over_masking for row in rows) / len(rows))
