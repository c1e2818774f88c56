"""The command line of the privacy commands. It prints names of people to the terminal, and logs none."""

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
Erase a job or a channel, or forget a person. The variables DEFACER_PROJECT, DEFACER_INTAKE_BUCKET,
DEFACER_WORK_BUCKET and DEFACER_OUTPUT_BUCKET name the buckets, as for the functions.
"""
EXAMPLES = """\
examples:
  python -m defacer.commands.privacy erase 0123456789abcdef0123         one job: source, result, all of its work
  python -m defacer.commands.privacy erase channels/street --yes        a channel with all its jobs, without asking
  python -m defacer.commands.privacy forget Ada --channel street        list results with Ada; no new job keeps her
  python -m defacer.commands.privacy forget Ada --channel street --rerender

exit codes: 0 success, 1 incomplete (see the last line, and run the command again), 2 wrong arguments,
130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Return the exit code."""
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
    logging.getLogger("defacer").addHandler(logging.NullHandler())  # the command prints errors itself
    from defacer.commands.common import exit_codes

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
    purpose = "forget a person: delete their pictures and name, and list the videos that show them"
    command: argparse.ArgumentParser = commands.add_parser(
        "forget", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.", allow_abbrev=False
    )
    command.add_argument("person", metavar="PERSON", help="the name of the target picture or of its folder")
    command.add_argument("--channel", required=True, metavar="NAME", help="the channel")
    command.add_argument(
        "--rerender",
        action="store_true",
        help="re-render the videos that show the person from their reports, with the person hidden",
    )
    command.add_argument(
        "--delete-unrenderable",
        action="store_true",
        help="delete the videos that can't be re-rendered, because their source was deleted",
    )
    _add_yes(command)
    command.set_defaults(run=_forget)
    return command


def _add_yes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _erase(options: argparse.Namespace) -> int:
    from defacer.commands.common.exit_codes import UsageError
    from defacer.commands.privacy import erase

    try:
        subject = erase.Subject.parse(options.subject)
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    found = erase.find_objects(subject)
    if not found.objects:
        print(f"Nothing of {options.subject} is stored.")
    elif not _confirm(f"{found.count()}. Erase all of it?", options):
        return 1
    else:
        erase.erase(subject, _print_removed, echo)
        print(f"Erased {options.subject}.")
    _print_unreadable(found.unreadable)
    return 1 if found.unreadable else 0


def _forget(options: argparse.Namespace) -> int:
    from defacer.commands.privacy import forget
    from defacer.commands.privacy.person_data import PersonData, find_person_data, people

    data = find_person_data(options.channel, options.person)
    if data == PersonData():
        others = ", ".join(people(options.channel)) or "no one"
        print(
            f"Nothing of {options.person} is stored in channel {options.channel}. Its target pictures name: {others}. "
            "Check the spelling of the name."
        )
        return 0
    question = (
        f"{options.person} in channel {options.channel}: {pluralize(len(data.pictures), 'target picture')}, "
        f"{pluralize(len(data.running_jobs), 'running job')}, named in "
        f"{pluralize(len(data.documents_naming_person), 'document')}, "
        f"visible in {pluralize(len(data.visible_in), 'result')}. Forget them?"
    )
    if not _confirm(question, options):
        return 1
    data = forget.withdraw(options.channel, options.person, _print_removed, echo)
    for shown in data.visible_in:
        _hide_or_delete(shown, options)
    if options.rerender or options.delete_unrenderable:
        forget.delete(data.old_versions, _print_removed)
    return _conclude(data, find_person_data(options.channel, options.person), options)


def _hide_or_delete(shown: "VisibleIn", options: argparse.Namespace) -> None:
    """Re-render the result or delete it, as the options say, or print why not."""
    from defacer.commands.privacy import forget
    from defacer.commands.privacy.engine_adapter import PrivacyEngine
    from defacer.pipeline.errors import PermanentError

    obstacle = shown.obstacle
    if obstacle is None and options.rerender:
        echo(f"Re-rendering {shown.result} ...")
        try:
            forget.rerender_hidden(shown, options.person, PrivacyEngine())
        except PermanentError as error:
            obstacle = str(error)
        else:
            print(f"re-rendered {shown.result} (job {shown.report.job})", flush=True)
            return
    if obstacle is not None and options.delete_unrenderable:
        forget.delete_result(shown, _print_removed)
        return
    how = f"it can't be re-rendered: {obstacle}" if obstacle else "it can be re-rendered"
    print(f"shows {options.person} {shown.result} (job {shown.report.job}): {how}", flush=True)


def _find_new(before: "PersonData", now: "PersonData", options: argparse.Namespace) -> list[str]:
    """Return the person's data that arrived while the command ran."""
    known = {shown.report.job for shown in before.visible_in}
    new = [shown.result for shown in now.visible_in if shown.report.job not in known]
    new += [f"job {job}" for job in now.running_jobs]
    documents = (ref for ref, _ in now.documents_naming_person)
    new += map(str, (*now.pictures, *now.orphaned_objects, *documents))
    return [*new, *map(str, now.old_versions)] if options.rerender or options.delete_unrenderable else new


def _conclude(before: "PersonData", now: "PersonData", options: argparse.Namespace) -> int:
    """Print the remaining work. Return the exit code."""
    echo("Remove copies outside these buckets yourself, such as downloads.")
    for name in now.results_without_report:
        print(f"has no readable report {name}: check it yourself")
    _print_unreadable(now.unreadable_jobs)
    new = _find_new(before, now, options)
    for name in new:
        print(f"new {name}")
    if new:
        echo(
            f"{pluralize(len(new), 'object')} of {options.person} arrived during this command. "
            "Run the same command again."
        )
        return 1
    if not (now.visible_in or now.old_versions or now.results_without_report or now.unreadable_jobs):
        print(f"{options.person} is forgotten in channel {options.channel}: no picture, no name, no result.")
        return 0
    echo(
        f"New videos hide {options.person}. {pluralize(len(now.visible_in), 'result')} and "
        f"{pluralize(len(now.old_versions), 'older version')} still show the person, and "
        f"{pluralize(len(now.results_without_report), 'result')} can't be checked.{_advice(now, options)}"
    )
    return 1


def _advice(now: "PersonData", options: argparse.Namespace) -> str:
    hint = []
    if (now.visible_in or now.old_versions) and not options.rerender:
        hint.append("--rerender")
    unrenderable = options.rerender or any(shown.obstacle for shown in now.visible_in)
    if now.visible_in and unrenderable and not options.delete_unrenderable:
        hint.append("--delete-unrenderable")
    return f" Add {' and '.join(hint)} to change that." if hint else ""


def _print_unreadable(jobs: Sequence[str]) -> None:
    for job in jobs:
        print(
            f"unreadable job {job}, of this channel or another: erase it, or repair its objects in the work bucket"
        )


def _confirm(question: str, options: argparse.Namespace) -> bool:
    from defacer.commands.common.exit_codes import UsageError

    if options.yes:
        return True
    print(f"{question} [y/N] ", end="", flush=True)
    answer = sys.stdin.readline() if sys.stdin else ""
    if not answer:  # end of file: an empty line has a line break
        print(flush=True)
        raise UsageError("The standard input has no answer. Add --yes to skip the question.")
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("Nothing was changed.")
    return False


def _print_removed(ref: "ObjectRef") -> None:
    print(f"removed {ref}", flush=True)


def echo(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
