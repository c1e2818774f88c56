"""`defacer job confirm`: list the proposed tracks of a waiting job, and confirm them."""

import json

import typer

from defacer.commands.common.confirmation import is_confirmed
from defacer.commands.common.conventions import Force, Json, Yes, verbosity
from defacer.commands.common.deployment import chosen_deployment
from defacer.commands.common.exit_codes import ExitCode
from defacer.commands.common.result_files import check_result
from defacer.commands.common.terminal import Terminal
from defacer.commands.corrections import read_decisions, require_tracks
from defacer.commands.jobs.job_options import Hide, Job, Keep, Out, Wait
from defacer.commands.jobs.job_reader import hints_about_jobs
from defacer.commands.jobs.waiting import WaitOptions, print_started_job
from defacer.commands.track_table import track_lines, tracks_as_json
from defacer.pipeline import awaiting_review
from defacer.pipeline.awaiting_review import WaitingJob
from defacer.pipeline.lifecycle.job_status import StartedJob
from defacer.plurals import pluralize
from defacer.program import program
from defacer.report.edits import Edits

CONFIRM_EXAMPLES = """\
defacer job confirm JOB --emulator                 list the proposed tracks of a job that waits for you
defacer job confirm JOB --emulator --yes           publish the video as proposed, without a question
defacer job confirm JOB --emulator --keep 2 --hide 4
"""


def confirm_tracks(
    context: typer.Context,
    job: Job,
    keep: Keep = [],  # noqa: B006
    hide: Hide = [],  # noqa: B006
    yes: Yes = False,
    wait: Wait = False,
    out: Out = None,
    force: Force = False,
    json_output: Json = False,
) -> int:
    """Confirm who stays visible in the video of a job that waits for you. Then the job renders and publishes it.

    Without --keep, --hide and --yes, list the proposed tracks by number. With --keep or --hide, all other tracks stay
    as proposed. --yes alone publishes the proposal. Only the first confirmation counts.
    """
    edits = read_decisions(None, keep, hide)
    if out is not None:
        check_result(out, force=force)
    terminal = Terminal(verbosity(context))
    with chosen_deployment(context) as deployment:
        with hints_about_jobs(job, deployment.option):
            waiting = awaiting_review.read_waiting_job(job)
        listing = f"{program()} job confirm {job}{deployment.option}"
        require_tracks(edits.decisions, len(waiting.tracks), listing)
        if edits or yes:
            if not is_confirmed(_question(waiting, edits), yes):
                return ExitCode.FAILED
            awaiting_review.confirm(job, edits)
            started = StartedJob(job, waiting.manifest.source.name)
            print_started_job(started, deployment, WaitOptions(wait, out, json_output, terminal))
        elif json_output:
            tracks = tracks_as_json(waiting)
            print(json.dumps({"job": job, "review_end": waiting.review_end.isoformat(), "tracks": tracks}))
        else:
            print("\n".join(track_lines(waiting)))
            terminal.print_line(
                f"The job waits for you until {waiting.review_end:%Y-%m-%d %H:%M} UTC. "
                f"{waiting.manifest.policy.timeout_outcome}\n"
                f"To publish it like this: {listing} --yes\n"
                f"To change decisions first: {listing} --keep TRACK --hide TRACK"
            )
    return 0


def _question(waiting: WaitingJob, edits: Edits) -> str:
    decisions = [edits.decisions.get(track.id, track.decision) for track in waiting.tracks]
    kept = pluralize(decisions.count("keep"), "track")
    return (
        f"{waiting.name} will be published with {kept} kept and {decisions.count('hide')} hidden. Confirm it?"
    )
