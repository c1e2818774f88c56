"""`defacer job`: list and inspect the jobs of a pipeline, confirm and re-render their videos, and erase them."""

import json
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defacer.commands.common.confirmation import is_confirmed
from defacer.commands.common.conventions import Force, Json, Yes, example_text, new_app, verbosity
from defacer.commands.common.deployment import PipelineCommand, chosen_deployment
from defacer.commands.common.exit_codes import ExitCode, UsageError
from defacer.commands.common.result_files import check_result
from defacer.commands.common.result_lines import ResultLines
from defacer.commands.common.terminal import Terminal
from defacer.commands.corrections import (
    AllowUncoverOption,
    DecisionsOption,
    LookAgainOption,
    MaskOption,
    MasksOption,
    NoFollowOption,
    SplitOption,
    TracksOption,
    read_corrections,
    read_decisions,
    require_tracks,
    split_tracks,
)
from defacer.commands.jobs import job_reader, job_table
from defacer.commands.jobs.job_confirmation import CONFIRM_EXAMPLES, confirm_tracks
from defacer.commands.jobs.job_options import Hide, Keep, Out, Wait
from defacer.commands.jobs.job_summary import describe_result
from defacer.commands.jobs.waiting import WaitOptions, print_started_job
from defacer.commands.track_table import added_lines, track_lines, tracks_as_json
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import rerender_request
from defacer.pipeline.lifecycle.job_status import JobStatus, StartedJob
from defacer.pipeline.privacy import erase
from defacer.program import program
from defacer.report.edits import AddedTrack, Edits
from defacer.report.faces import Faces

if TYPE_CHECKING:
    from defacer.commands.corrections import Corrections

STATUS_EXAMPLES = """\
defacer job status --emulator                      list the jobs of the emulator on this machine
defacer job status JOB --project my-project        show one job on Google Cloud
"""
RERENDER_EXAMPLES = """\
defacer job rerender JOB --emulator                list the tracks of a published video by number
defacer job rerender JOB --emulator --hide 4 -o safe.mp4
defacer job rerender JOB --emulator --mask 0:12-0:14.5@600,80,90,120
defacer job rerender JOB --emulator --split 4@0:12.5 --tracks corrected.xml
"""
ERASE_EXAMPLES = """\
defacer job erase JOB --project my-project         remove a job from every bucket
defacer job erase channels/street --yes            remove a channel with all its jobs, without asking
"""
EXAMPLES = STATUS_EXAMPLES + CONFIRM_EXAMPLES + RERENDER_EXAMPLES + ERASE_EXAMPLES
app = new_app("List, confirm and re-render jobs, and erase them.", EXAMPLES)


@app.command("status", cls=PipelineCommand, epilog=example_text(STATUS_EXAMPLES))
def print_status(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="The id of one job.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="List this many jobs, the newest ones.")
    ] = 50,
    json_output: Json = False,
) -> None:
    """List the jobs in a table, or show one job in detail."""
    with chosen_deployment(context) as deployment:
        if job is not None:
            status = job_reader.find_job(job, deployment.option)
            if json_output:
                print(json.dumps(_describe_in_detail(status, deployment.started_at)))
            else:
                print("\n".join(job_table.detail_lines(status, deployment)))
            return
        jobs = job_reader.list_jobs(limit)
        if json_output:
            print(json.dumps([job_table.describe_job(status, deployment.started_at) for status in jobs]))
        elif jobs:
            job_table.print_table(jobs, deployment.started_at)
        else:
            print("No jobs yet. Upload a video first.")


app.command("confirm", cls=PipelineCommand, epilog=example_text(CONFIRM_EXAMPLES))(confirm_tracks)


@app.command("rerender", cls=PipelineCommand, epilog=example_text(RERENDER_EXAMPLES))
def rerender(  # noqa: PLR0913 - Typer reads the options from the parameters
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Any job of the video's upload.")],
    keep: Keep = [],  # noqa: B006
    hide: Hide = [],  # noqa: B006
    mask: MaskOption = None,
    masks: MasksOption = None,
    no_follow: NoFollowOption = False,
    look_again: LookAgainOption = None,
    split: SplitOption = None,
    tracks: TracksOption = None,
    decisions: DecisionsOption = None,
    allow_uncover: AllowUncoverOption = False,
    wait: Wait = False,
    out: Out = None,
    force: Force = False,
    json_output: Json = False,
) -> None:
    """Render a published video again with other decisions, split tracks and drawn masks, and print the new job.

    Without any change, list the tracks by number. --mask, --masks, --look-again and --tracks read the source on this
    machine.
    """
    edits = read_decisions(decisions, keep, hide)
    corrections = read_corrections(mask, masks, look_again, follow=not no_follow)
    if out is not None:
        check_result(out, force=force)
    terminal = Terminal(verbosity(context))
    with chosen_deployment(context) as deployment:
        with job_reader.hints_about_jobs(job, deployment.option):
            report = rerender_request.report_of(job)
        listing = f"{program()} job rerender {job}{deployment.option}"
        if split:
            parts = split_tracks(split, Faces.from_head(report.faces, report.tracks), listing)
            edits = replace(edits, first_id=len(report.tracks), added=parts)
        if edits or corrections or tracks:
            if tracks:
                from defacer.commands.jobs.engine_adapter import import_tracks

                edits = import_tracks(
                    report, tracks, edits.decisions, terminal, allow_uncover=allow_uncover
                ).merge(edits)
            count = _count_tracks(report, edits)
            if corrections:
                require_tracks(edits.decisions, count + corrections.max_added, listing)
                drawn = _find_tracks(report, corrections, terminal)
                edits, count = replace(edits, added=(*edits.added, *drawn)), count + len(drawn)
            require_tracks(edits.decisions, count, listing)
            requested = rerender_request.request_rerender(job, edits)
            for line in added_lines(edits.added, requested.added.start, report.faces):
                terminal.print_line(line)
            started = StartedJob(requested.job, report.source.name)
            print_started_job(started, deployment, WaitOptions(wait, out, json_output, terminal))
        elif json_output:
            print(json.dumps({"job": report.job, "tracks": tracks_as_json(report)}))
        else:
            print("\n".join(track_lines(report)))
            terminal.print_line(f"To change decisions: {listing} --keep TRACK --hide TRACK")


def _count_tracks(report: JobReport, edits: Edits) -> int:
    """Return the number of tracks after these edits and, without numbers of their own, after the pending ones."""
    before = edits.first_id
    if before is None:
        before = len(report.tracks) + len(rerender_request.pending(report.source).added)
    return before + len(edits.added)


def _find_tracks(report: JobReport, corrections: "Corrections", terminal: Terminal) -> list[AddedTrack]:
    """Search the source for the tracks that the corrections add."""
    from defacer.commands.jobs.engine_adapter import find_tracks

    name = report.source.name.rpartition("/")[2]
    with terminal.show_files(1) as progress:
        return find_tracks(
            report, corrections, lambda stage, done, total: progress.show(name, stage, done, total)
        )


@app.command("erase", cls=PipelineCommand, epilog=example_text(ERASE_EXAMPLES))
def erase_objects(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="JOB|channels/NAME", help="What to erase.")],
    yes: Yes = False,
    json_output: Json = False,
) -> int:
    """Remove a job, or a channel with all its jobs, from every bucket, and print the removed objects."""
    try:
        parsed = erase.Subject.parse(subject)
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    terminal = Terminal(verbosity(context))
    with chosen_deployment(context), ResultLines(json_output) as lines:
        found = erase.find_objects(parsed)
        if found.objects and not is_confirmed(f"{found.count()}. Erase all of it?", yes):
            return ExitCode.FAILED
        if found.objects:
            erase.erase(parsed, lines.add_removed, terminal.print_line)
    for job in found.unreadable:
        lines.add_unreadable(job)
    end = f"Erased {subject}." if found.objects else f"Nothing of {subject} is stored."
    lines.finish(end, subject=subject, found=bool(found.objects))
    return ExitCode.FAILED if found.unreadable else 0


def _describe_in_detail(status: JobStatus, started_at: datetime | None) -> dict[str, Any]:
    """Return a job for programs, and its result if it is published."""
    described = job_table.describe_job(status, started_at)
    if not status.has_result:
        return described
    try:
        return {**described, **describe_result(status, rerender_request.report_of(status.job))}
    except PermanentError as error:  # a newer upload has replaced the report
        return {**described, "problem": str(error)}
