"""Where the engine's time goes, stage by stage: one run inside this process with its functions wrapped by timers.

    python -m tests.benchmarks.profile IN.mp4 OUT.mp4 --target ME.jpg

A stage's time is its own: a timed call inside another is taken off the outer one. Encoder and decoder work in
threads of their own too; what is told is how long the engine waited in the call. Looks and embeddings run in one
thread a core, and decoding ahead of them in another. Frames are redacted in a thread beside the encoder. So the stages
add up to more than the wall time. Waiting for them is not counted. PLACES names the functions. Change it with the
engine: a name that does not exist is printed under the table.
"""

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any

from defacer.engine.__main__ import main as engine_command
from defacer.engine.output_paths import check_outputs

ENGINE = "defacer.engine"
PLACES = (
    ("load", "weights", "fetch_all"),
    ("load", "detect", "CenterFace.__init__"),
    ("load", "detect", "Mtcnn.__init__"),
    ("load", "embed", "SFace.__init__"),
    ("load", "yunet", "YuNet.__init__"),
    ("decode", "video", "read_frames"),
    ("scale", "sample", "View.__init__"),
    ("scale", "sample", "View.small"),
    ("looks", "detect", "CenterFace.detect"),
    ("looks", "detect", "Mtcnn.detect"),
    ("embed", "embed", "SFace.crop"),
    ("embed", "embed", "SFace.embed"),
    ("wait", "find", "find_pieces"),
    ("link", "link", "link"),
    ("conceal", "cover", "Cover.boxes"),
    ("conceal", "conceal", "conceal"),
    ("encode", "write", "SegmentWriter.write"),
    ("encode", "write", "SegmentWriter.flush"),
    ("check", "inspection", "Inspector.detect"),
    ("check", "readback", "Readback._decode"),
    ("check", "inspection", "Inspector.look"),
    ("join", "join", "join_files"),
)


class Timers:
    """Adds up the time and the calls of each stage."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._open = threading.local()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        open_calls = self._open.__dict__.setdefault("calls", [])
        started = time.perf_counter()
        open_calls.append(0.0)  # seconds of the timed calls inside this one
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[stage] += spent - open_calls.pop()
            self.calls[stage] += 1
            if open_calls:
                open_calls[-1] += spent

    def wrapped(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            with self.timed(stage):
                return function(*arguments, **named)

        @wraps(function)
        def generate(*arguments: Any, **named: Any) -> Iterator[Any]:
            items, end = function(*arguments, **named), object()
            while True:
                with self.timed(stage):
                    item = next(items, end)
                if item is end:
                    return
                yield item

        return generate if isgeneratorfunction(function) else call


def wrap_all(timers: Timers) -> list[str]:
    """Wrap every place, wherever it was imported to; give the names of those that are not there."""
    import_module(f"{ENGINE}.deface")  # all modules of the engine, before names are replaced in them
    missing = []
    for stage, module_name, name in PLACES:
        try:
            owner = import_module(f"{ENGINE}.{module_name}")
            *classes, last = name.split(".")
            for class_name in classes:
                owner = getattr(owner, class_name)
            function = getattr(owner, last)
        except (ImportError, AttributeError):
            missing.append(f"{module_name}.{name}")
            continue
        wrapper = timers.wrapped(stage, function)
        setattr(owner, last, wrapper)
        _replace_imported(function, wrapper)
    return missing


def _replace_imported(function: object, wrapper: object) -> None:
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(ENGINE):
            for name, value in list(vars(module).items()):
                if value is function:
                    setattr(module, name, wrapper)


def table(timers: Timers, wall: float, missing: list[str]) -> str:
    """Markdown; the share is that of all stages' seconds together, which threads spend beside each other."""
    lines = ["| stage | seconds | share | calls |", "|---|---|---|---|"]
    stages = [
        stage for stage in dict.fromkeys(stage for stage, _, _ in PLACES) if stage not in ("load", "wait")
    ]
    together = sum(timers.seconds[stage] for stage in stages)
    for stage in stages:
        seconds = timers.seconds[stage]
        lines.append(
            f"| {stage} | {seconds:.2f} | {100 * seconds / together:.1f} % | {timers.calls[stage]} |"
        )
    lines.append(f"| all stages, in threads beside each other | {together:.2f} | 100 % | |")
    lines.append(f"| wall time without loading | {wall - timers.seconds['load']:.2f} | | |")
    lines.append(f"| loading the models | {timers.seconds['load']:.2f} | | |")
    if missing:
        lines.append(f"\nNot found in the engine, so not in the table: {', '.join(missing)}.")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.profile", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("video", metavar="IN", help="the video to read")
    parser.add_argument("out", metavar="OUT", help="the MP4 to write")
    parser.add_argument("--target", metavar="PICTURE", help="who stays visible (default: nobody)")
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="write the table there (default: print it)"
    )
    arguments = parser.parse_args()
    if arguments.table:
        check_outputs([arguments.table], [Path(arguments.video)], force=False)
    timers = Timers()
    missing = wrap_all(timers)
    target = ["--target", arguments.target] if arguments.target else []
    sys.argv = [ENGINE, arguments.video, arguments.out, *target]
    started = time.perf_counter()
    code = engine_command()
    found = table(timers, time.perf_counter() - started, missing)
    if arguments.table:
        arguments.table.write_text(found + "\n")
    else:
        print(found)
    return code


if __name__ == "__main__":
    sys.exit(main())
