"""The commands, their arguments, and what a person at a terminal is told. Names go there, and into no log."""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from defacer.plurals import pluralize

if TYPE_CHECKING:
    from defacer.commands.privacy.person_data import PersonData, VisibleIn
    from defacer.pipeline.documents.base import ObjectRef

DESCRIPTION = """\
What the owner of a channel may ask for. The buckets are those that DEFACER_PROJECT, DEFACER_INTAKE_BUCKET,
DEFACER_WORK_BUCKET and DEFACER_OUTPUT_BUCKET name, as for the functions.
"""
EXAMPLES = """\
examples:
  python -m defacer.commands.privacy erase 0123456789abcdef0123         one job: source, result, all of its work
  python -m defacer.commands.privacy erase channels/street --yes        a channel with all its jobs, without asking
  python -m defacer.commands.privacy forget Ada --channel street        who keeps Ada? then no new job does
  python -m defacer.commands.privacy forget Ada --channel street --render-again

exit codes: 0 done, 1 not all of it (the last line says what is left; run it again), 2 the command can't be done
as given, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m defacer.commands.privacy",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_erase(commands)
    add_forget(commands)
    options = parser.parse_args(arguments)
    logging.getLogger("defacer").addHandler(logging.NullHandler())  # what the pipeline logs is said here
    from defacer.commands import exit_codes

    return exit_codes.run_cli(lambda: int(options.run(options)))


def add_erase(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command `erase`."""
    purpose = "remove a job, or a channel with all its jobs, from every bucket"
    command: argparse.ArgumentParser = commands.add_parser(
        "erase",
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}, and print the removed objects.",
        allow_abbrev=False,
    )
    command.add_argument("subject", metavar="JOB|channels/NAME", help="what to erase")
    _add_yes(command)
    command.set_defaults(run=_erase)
    return command


def add_forget(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command `forget`."""
    purpose = "keep a person no longer: remove their pictures and name, find the videos that show them"
    command: argparse.ArgumentParser = commands.add_parser(
        "forget", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.", allow_abbrev=False
    )
    command.add_argument("person", metavar="PERSON", help="as the target picture or its folder is called")
    command.add_argument("--channel", required=True, metavar="NAME", help="the channel")
    command.add_argument(
        "--render-again",
        action="store_true",
        help="render the videos that show the person again from their reports, with the person hidden",
    )
    command.add_argument(
        "--delete-unrenderable",
        action="store_true",
        help="delete those that can't be rendered again, because their source is gone",
    )
    _add_yes(command)
    command.set_defaults(run=_forget)
    return command


def _add_yes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="do it without asking")


def _erase(options: argparse.Namespace) -> int:
    from defacer.commands.exit_codes import UsageError
    from defacer.commands.privacy import erase

    try:
        subject = erase.Subject.parse(options.subject)
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    found = erase.look(subject)
    if not found.objects:
        print(f"There is nothing of {options.subject}.")
    elif not _confirmed(f"{found.count()}. Erase all of it?", options):
        return 1
    else:
        erase.erase(subject, _removed, echo)
        print(f"Erased {options.subject}.")
    _tell_unreadable(found.unreadable)
    return 1 if found.unreadable else 0


def _forget(options: argparse.Namespace) -> int:
    from defacer.commands.privacy import forget
    from defacer.commands.privacy.person_data import PersonData, look, people

    traces = look(options.channel, options.person)
    if traces == PersonData():
        others = ", ".join(people(options.channel)) or "nobody"
        print(
            f"There is nothing of {options.person} in channel {options.channel}. Its target pictures name: {others}. "
            "Was the name spelt as there?"
        )
        return 0
    question = (
        f"{options.person} in channel {options.channel}: {pluralize(len(traces.pictures), 'target picture')}, "
        f"{pluralize(len(traces.under_way), 'job')} under way, named in {pluralize(len(traces.named), 'document')}, "
        f"seen in {pluralize(len(traces.shown), 'result')}. Forget them?"
    )
    if not _confirmed(question, options):
        return 1
    traces = forget.withdraw(options.channel, options.person, _removed, echo)
    for shown in traces.shown:
        _deal_with(shown, options)
    if options.render_again or options.delete_unrenderable:
        forget.delete(traces.old, _removed)
    return _verdict(traces, look(options.channel, options.person), options)


def _deal_with(shown: "VisibleIn", options: argparse.Namespace) -> None:
    """Render it again or delete it, as the options say, or tell why not."""
    from defacer.commands.privacy import forget
    from defacer.commands.privacy.engine_adapter import PrivacyEngine
    from defacer.pipeline.errors import PermanentError

    obstacle = shown.obstacle
    if obstacle is None and options.render_again:
        echo(f"Rendering {shown.result} again ...")
        try:
            forget.hide_again(shown, options.person, PrivacyEngine())
        except PermanentError as error:
            obstacle = str(error)
        else:
            print(f"rendered again {shown.result} (job {shown.report.job})", flush=True)
            return
    if obstacle is not None and options.delete_unrenderable:
        forget.delete_result(shown, _removed)
        return
    how = f"it can't be rendered again: {obstacle}" if obstacle else "it can be rendered again"
    print(f"shows {options.person} {shown.result} (job {shown.report.job}): {how}", flush=True)


def _came(before: "PersonData", now: "PersonData", options: argparse.Namespace) -> list[str]:
    """What there is of the person that came while the command ran, or it would be gone."""
    known = {shown.report.job for shown in before.shown}
    came = [shown.result for shown in now.shown if shown.report.job not in known]
    came += [f"job {job}" for job in now.under_way]
    came += map(str, (*now.pictures, *now.remains, *(ref for ref, _ in now.named)))
    return [*came, *map(str, now.old)] if options.render_again or options.delete_unrenderable else came


def _verdict(before: "PersonData", now: "PersonData", options: argparse.Namespace) -> int:
    """Say what is left to do, if anything is."""
    echo("Copies that were downloaded, or that lie outside these buckets, are yours to remove.")
    for name in now.untold:
        print(f"has no report that can be read {name}: look at it yourself")
    _tell_unreadable(now.unreadable)
    came = _came(before, now, options)
    for what in came:
        print(f"came meanwhile {what}")
    if came:
        echo(
            f"Of {options.person} {pluralize(len(came), 'trace')} came while this ran. Run the same command again."
        )
        return 1
    if not (now.shown or now.old or now.untold or now.unreadable):
        print(f"{options.person} is forgotten in channel {options.channel}: no picture, no name, no result.")
        return 0
    hint = []
    if (now.shown or now.old) and not options.render_again:
        hint.append("--render-again")
    unrenderable = options.render_again or any(shown.obstacle for shown in now.shown)
    if now.shown and unrenderable and not options.delete_unrenderable:
        hint.append("--delete-unrenderable")
    more = f" Add {' and '.join(hint)} to change that." if hint else ""
    echo(
        f"New videos hide {options.person}, who can still be seen in {pluralize(len(now.shown), 'result')} and "
        f"{pluralize(len(now.old), 'older version')}; of {pluralize(len(now.untold), 'result')} nothing is known.{more}"
    )
    return 1


def _tell_unreadable(jobs: Sequence[str]) -> None:
    for job in jobs:
        print(
            f"can't be read job {job}, of this channel or another: erase it, or mend what it has in the work bucket"
        )


def _confirmed(question: str, options: argparse.Namespace) -> bool:
    from defacer.commands.exit_codes import UsageError

    if options.yes:
        return True
    print(f"{question} [y/N] ", end="", flush=True)
    answer = sys.stdin.readline() if sys.stdin else ""
    if not answer:  # its end; an empty line has a line break
        print(flush=True)
        raise UsageError("Nobody is there to answer: add --yes to do it without asking.")
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("Nothing was done.")
    return False


def _removed(ref: "ObjectRef") -> None:
    print(f"removed {ref}", flush=True)


def echo(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
