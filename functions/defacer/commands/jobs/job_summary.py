"""Summarize the result of a job, as lines and as JSON."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from defacer.commands.common.result_files import report_beside
from defacer.commands.track_table import describe_copied, name_person, result_as_json
from defacer.pipeline.documents.manifest import RerenderRecord
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.plurals import pluralize, printable
from defacer.report.changes import describe_changes
from defacer.report.texts import ADVICE, CHECK_OFF


def describe_result(status: JobStatus, report: JobReport, out: Path | None = None) -> dict[str, Any]:
    """Return the result of a job for programs."""
    checked = report.checked and report.checked.model_dump(mode="json")
    saved = {"result": str(out), "report": str(report_beside(out))} if out is not None else {}
    return {
        "job": status.job,
        "result": str(status.published.result) if status.published else None,
        **saved,
        **result_as_json(report, checked),
    }


def summarize(report: JobReport, rerender: str) -> str:
    """Return a few lines about the kept and hidden tracks. `rerender` is the command that changes a decision."""
    kept = Counter(name_person(track) for track in report.tracks if track.is_kept_face)
    hidden = sum(track.decision == "hide" for track in report.tracks)
    people = ", ".join(f"{person} ({pluralize(number, 'track')})" for person, number in sorted(kept.items()))
    lines = [
        f"{pluralize(report.frames, 'frame')} in {pluralize(len(report.segments), 'segment')}, "
        f"{pluralize(report.audio_packets, 'audio packet')} copied",
        f"kept:   {people or 'no one'}",
        f"hidden: {pluralize(hidden, 'track')} (a track is one face, followed without a gap)",
    ]
    if report.rerender is not None:
        changes = ", ".join(describe_rerender(report.rerender))
        lines.append(f"manual changes, based on the result of job {report.rerender.of}: {changes}")
    if report.checked is None:
        lines.append(CHECK_OFF)
    else:
        found = len(report.checked.tracks)
        outcome = f"{pluralize(found, 'track')} found and hidden" if found else "no other face to hide"
        lines.append(f"check:  {pluralize(report.checked.frames, 'frame')} of the result, {outcome}")
    if report.black_frames:
        lines.append(f"black:  {pluralize(report.black_frames, 'frame')} that could not be decoded")
    if report.policy.copy_untouched:
        lines.append(f"copied: {describe_copied(report.copied_frames, report.frames)}")
    lines += map(printable, describe_changes(report.changes))
    for warning in report.faces.warnings:
        lines.append(f"warning: {printable(warning.message)} {ADVICE.get(warning.code, '')}".rstrip())
        if warning.track is not None:
            lines.append(f"         Or decide manually: {rerender} --keep {warning.track}")
    return "\n".join(lines)


def describe_rerender(rerender: RerenderRecord) -> Iterator[str]:
    """Yield what a re-render changed, such as "hide track 4"."""
    for track, decision in sorted(rerender.decisions.items()):
        yield f"{decision} track {track}"
    for verb, tracks in (
        ("add", rerender.added),
        ("move", rerender.moved),
        ("show more of", rerender.uncovered),
        ("group", rerender.groups),
        ("name", rerender.named),
    ):
        for track in sorted(tracks):
            yield f"{verb} track {track}"
