"""The commands and their arguments. An error becomes one line on standard error and an exit code."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from defacer.commands import privacy_cli as privacy
from defacer.commands import rerender as rerender_command
from defacer.engine.options import MODES
from defacer_emulator.errors import INTERRUPTED, EmulatorError
from defacer_emulator.processes.ports import SERVICES
from defacer_emulator.processes.state import DEFAULT_STATE
from defacer_emulator.terminal import printable_lines

SECRET_VARIABLE = "DEFACER_WEBHOOK_SECRET"  # noqa: S105 - its name

DESCRIPTION = """\
Run the whole pipeline on this machine: emulators of Cloud Storage and Pub/Sub, and the same
functions as on Google Cloud, each in its own process.
"""
EXAMPLES = """\
examples:
  python -m defacer_emulator demo                         redact a generated clip
  python -m defacer_emulator up                           start and follow the logs; Ctrl-C stops everything
  python -m defacer_emulator drop in.mp4 --target me.jpg -o out.mp4
                                                        in another terminal: hide everyone but me
  python -m defacer_emulator drop in.mp4 --channel street --mode pixelate
                                                        keep the channel's people, hide all others; do not wait
  python -m defacer_emulator status                       list all jobs
  python -m defacer_emulator rerender JOB                 list the tracks of a published video by number
  python -m defacer_emulator rerender JOB --hide 4 -o out.mp4
                                                        render it again with this track hidden
  python -m defacer_emulator erase JOB                    remove a job (or channels/NAME) from every bucket
  python -m defacer_emulator forget Ada --channel street --rerender
                                                        hide Ada in new and in published videos
  python -m defacer_emulator down                         stop the emulator from another terminal

exit codes: 0 done, 1 failed (the last line has the reason), 2 invalid command, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code. Errors are one message on standard error."""
    options = parser().parse_args(arguments)
    try:
        with interrupt_on_signals():
            code: int = options.run(options)
    except EmulatorError as error:
        print(f"defacer_emulator: {printable_lines(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("defacer_emulator: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output has ended
        sys.stderr.close()
        return 1
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser. Each command sets `run`, a function of the parsed arguments that returns the exit code."""
    top = argparse.ArgumentParser(
        prog="python -m defacer_emulator",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_up(commands)
    _add_drop(commands)
    _add_rerender(commands)
    _add_status(commands)
    _add_down(commands)
    _add_demo(commands)
    for add in (privacy.add_erase, privacy.add_forget):
        command = add(commands)
        _add_state(command)
        command.set_defaults(run=_run_privacy, run_command=command.get_default("run"))
    return top


def _add_up(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _command(commands, "up", "start everything and follow the logs until Ctrl-C")
    _add_state(command)
    _add_pubsub(command)
    command.add_argument(
        "--workers",
        type=_positive,
        default=1,
        metavar="N",
        help="number of segments to process at a time (default: 1)",
    )
    command.add_argument(
        "--functions",
        type=Path,
        metavar="DIR",
        help="run NAME/main.py from another folder, to try a change (default: functions/defacer)",
    )
    command.add_argument(
        "--chaos",
        metavar="SEED|FILE",
        help="inject faults: by a seed, by a plan in a file, or by the chaos.log of a run to replay. See "
        "local_emulator/defacer_emulator/chaos/README.md",
    )
    command.add_argument(
        "--webhook",
        metavar="URL",
        help="call this URL at the end of each job. The secret in the variable "
        f"{SECRET_VARIABLE}, at least 32 characters, signs the calls",
    )
    for name, service in SERVICES.items():
        command.add_argument(
            f"--{name}-port",
            type=_port,
            metavar="PORT",
            help=f"the port of {service.title}; 0 means any free port (default: {service.default}, or a free port if "
            "that is in use)",
        )
    command.set_defaults(run=_run_up)


def _add_drop(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _command(commands, "drop", "upload a video with the pictures of the people to keep")
    command.add_argument("video", type=Path, metavar="VIDEO", help="the video")
    command.add_argument("--channel", default="demo", metavar="NAME", help="the channel (default: demo)")
    command.add_argument(
        "--target",
        type=Path,
        action="append",
        default=[],
        metavar="ME.jpg",
        help="a picture with one face: this person stays visible. The file name names the person; repeatable. "
        "Pictures of earlier drops stay in the channel",
    )
    policy = command.add_mutually_exclusive_group()
    policy.add_argument("--policy", type=Path, metavar="FILE", help="the channel's policy.json")
    policy.add_argument("--mode", choices=MODES, help="how to hide faces, instead of a policy file")
    command.add_argument(
        "--replacement", type=Path, metavar="PICTURE", help="the picture that covers faces in mode image"
    )
    _add_waiting(command)
    _add_state(command)
    command.set_defaults(run=_run_drop)


def _add_rerender(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _command(commands, "rerender", "render a published video again with other decisions")
    rerender_command.add_arguments(command)
    _add_waiting(command)
    _add_state(command)
    command.set_defaults(run=_run_rerender)


def _add_waiting(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait", action="store_true", help="wait for the end and print the kept and hidden tracks"
    )
    command.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="OUT",
        help="wait, then save the result here and its report beside it",
    )
    _add_force(command)


def _add_force(command: argparse.ArgumentParser) -> None:
    command.add_argument("--force", action="store_true", help="replace OUT and its report if they exist")


def _add_status(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _command(commands, "status", "show all jobs in a table, or one job in detail")
    command.add_argument("job", nargs="?", metavar="JOB", help="a job id that `drop` printed")
    _add_state(command)
    command.set_defaults(run=_run_status)


def _add_down(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _command(commands, "down", "stop the emulator that `up` started in another terminal")
    _add_state(command)
    command.set_defaults(run=_run_down)


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _command(commands, "demo", "start, drop a video, wait, save the result, and stop")
    command.add_argument("--video", type=Path, metavar="V", help="a video (default: a generated clip)")
    command.add_argument(
        "--target",
        type=Path,
        action="append",
        default=[],
        metavar="T",
        help="a picture of a person who stays visible (default: one of the two in the generated clip, no one in yours)",
    )
    command.add_argument(
        "--drawn", action="store_true", help="generate the clip with drawn people, as in the README's picture"
    )
    command.add_argument("--mode", choices=MODES, help="how to hide faces (default: blur)")
    command.add_argument(
        "--replacement", type=Path, metavar="PICTURE", help="the picture that covers faces in mode image"
    )
    command.add_argument(
        "-o", "--out", type=Path, metavar="OUT", help="the result (default: demo/result.mp4)"
    )
    _add_force(command)
    _add_pubsub(command)
    command.set_defaults(run=_run_demo)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, purpose: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.", allow_abbrev=False
    )
    return command


def _add_state(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--state",
        type=Path,
        default=DEFAULT_STATE,
        metavar="DIR",
        help="the emulator's folder: ports, logs and objects (default: .emulator)",
    )


def _add_pubsub(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--pubsub",
        choices=("auto", "google", "builtin"),
        default="auto",
        help="Google's Pub/Sub emulator, the built-in one, or (auto) Google's if it is installed",
    )


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return number


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return number


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt the block as Ctrl-C does, so that it cleans up."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


# The commands are imported when they run, so that `--help` and errors in arguments are fast.


def _run_up(options: argparse.Namespace) -> int:
    from defacer_emulator.chaos.plan import read_plan
    from defacer_emulator.commands import up_down
    from defacer_emulator.emulator import FUNCTIONS_FOLDER, EmulatorOptions, Receiver

    functions = (options.functions or FUNCTIONS_FOLDER).resolve()
    plan = read_plan(options.chaos) if options.chaos is not None else None
    receiver = Receiver(options.webhook, os.environ.get(SECRET_VARIABLE, "")) if options.webhook else None
    ports = {name: getattr(options, f"{name.replace('-', '_')}_port") for name in SERVICES}
    return up_down.up(
        EmulatorOptions(
            options.state,
            options.pubsub,
            options.workers,
            functions,
            chaos=plan,
            receiver=receiver,
            console=True,
            live=True,
            ports={name: port for name, port in ports.items() if port is not None},
            default_ports=True,
        )
    )


def _run_down(options: argparse.Namespace) -> int:
    from defacer_emulator.commands import up_down

    return up_down.down(options.state)


def _run_status(options: argparse.Namespace) -> int:
    from defacer_emulator.commands import status

    return status.print_status(options.state, options.job)


def _run_drop(options: argparse.Namespace) -> int:
    from defacer_emulator.commands import drop
    from defacer_emulator.uploading import Upload

    upload = Upload(
        video=options.video,
        channel=options.channel,
        targets=tuple(options.target),
        policy=options.policy,
        mode=options.mode,
        replacement=options.replacement,
    )
    wait = options.wait or options.out is not None
    return drop.run_drop(upload, options.state, wait=wait, out=options.out, force=options.force)


def _run_rerender(options: argparse.Namespace) -> int:
    from defacer_emulator.commands import rerender

    decisions = rerender.RerenderOptions(options.job, tuple(options.keep), tuple(options.hide))
    return rerender.run_rerender(
        decisions, options.state, wait=options.wait, out=options.out, force=options.force
    )


def _run_privacy(options: argparse.Namespace) -> int:
    from defacer.commands.common.exit_codes import run_cli
    from defacer_emulator.processes.environment import use_emulator
    from defacer_emulator.processes.state import StateFolder

    logging.getLogger("defacer").addHandler(logging.NullHandler())  # errors are printed, not logged
    with use_emulator(StateFolder(options.state.resolve()).require_running()):
        return run_cli(lambda: int(options.run_command(options)))


def _run_demo(options: argparse.Namespace) -> int:
    from defacer_emulator.commands import demo

    return demo.run_demo(
        demo.Demo(
            video=options.video,
            targets=tuple(options.target),
            drawn=options.drawn,
            mode=options.mode,
            replacement=options.replacement,
            out=options.out,
            force=options.force,
            pubsub=options.pubsub,
        )
    )
