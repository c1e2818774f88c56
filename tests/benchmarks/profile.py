"""Profile one run of the engine by stage, with timers around its functions.

    python -m tests.benchmarks.profile IN.mp4 OUT.mp4 --target ME.jpg

A timed call inside another counts only for the inner stage. Encoder and decoder also have their own threads, so
only the waiting time in the call is measured. Detection and embedding run in one thread per core, and decoding and
redaction in threads of their own. So the stages add up to more than the wall time. Waiting for them is not counted.
PLACES lists the functions. Update it with the engine: missing names are printed under the table.
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

from defacer.commands.app import main as engine_command
from defacer.engine.output_paths import check_outputs

ENGINE = "defacer.engine"
PLACES = (
    ("load", "models.weights", "fetch_all"),
    ("load", "models.centerface", "CenterFace.__init__"),
    ("load", "models.mtcnn", "Mtcnn.__init__"),
    ("load", "models.sface", "SFace.__init__"),
    ("load", "models.yunet", "YuNet.__init__"),
    ("decode", "media.reader", "read_frames"),
    ("scale", "tracking.reduced_frame", "ReducedFrame.__init__"),
    ("scale", "tracking.reduced_frame", "ReducedFrame.detector_image"),
    ("detect", "models.centerface", "CenterFace.detect"),
    ("detect", "models.mtcnn", "Mtcnn.detect"),
    ("embed", "models.sface", "SFace.crop"),
    ("embed", "models.sface", "SFace.embed"),
    ("wait", "tracking.detection_pass", "detect_subsegments"),
    ("link", "tracking.linking", "link_faces"),
    ("redact", "rendering.masks", "MaskSchedule.boxes"),
    ("redact", "rendering.redaction", "redact_boxes"),
    ("encode", "media.segment_writer", "SegmentWriter.write"),
    ("encode", "media.segment_writer", "SegmentWriter.flush"),
    ("check", "verification.inspection", "Inspector.detect"),
    ("check", "media.readback", "Readback._decode"),
    ("check", "verification.inspection", "Inspector.detect_in_file"),
    ("join", "media.joiner", "join_files"),
)


class Timers:
    """The total time and number of calls of each stage."""

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

    def wrap(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
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
    """Wrap every place, also where it was imported, and return the names of missing places."""
    import_module(f"{ENGINE}.engine")  # import all modules of the engine before names are replaced in them
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
        wrapper = timers.wrap(stage, function)
        setattr(owner, last, wrapper)
        _replace_imported(function, wrapper)
    return missing


def _replace_imported(function: object, wrapper: object) -> None:
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(ENGINE):
            for name, value in list(vars(module).items()):
                if value is function:
                    setattr(module, name, wrapper)


def render_table(timers: Timers, wall: float, missing: list[str]) -> str:
    """Return a Markdown table. Shares refer to the total of all stages, which overlap in threads."""
    lines = ["| stage | seconds | share | calls |", "|---|---|---|---|"]
    stages = [
        stage for stage in dict.fromkeys(stage for stage, _, _ in PLACES) if stage not in ("load", "wait")
    ]
    total = sum(timers.seconds[stage] for stage in stages)
    for stage in stages:
        seconds = timers.seconds[stage]
        lines.append(f"| {stage} | {seconds:.2f} | {100 * seconds / total:.1f} % | {timers.calls[stage]} |")
    lines.append(f"| all stages, in overlapping threads | {total:.2f} | 100 % | |")
    lines.append(f"| wall time without loading | {wall - timers.seconds['load']:.2f} | | |")
    lines.append(f"| loading the models | {timers.seconds['load']:.2f} | | |")
    if missing:
        lines.append(f"\nNot found in the engine and not in the table: {', '.join(missing)}.")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.profile", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("video", metavar="IN", help="the video to read")
    parser.add_argument("out", metavar="OUT", help="the MP4 to write")
    parser.add_argument("--target", metavar="PICTURE", help="the person who stays visible (default: no one)")
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="write the table to this file (default: print it)"
    )
    arguments = parser.parse_args()
    if arguments.table:
        check_outputs([arguments.table], [Path(arguments.video)], force=False)
    timers = Timers()
    missing = wrap_all(timers)
    target = ["--keep", arguments.target] if arguments.target else []
    started = time.perf_counter()
    if code := engine_command(["run", arguments.video, "-o", arguments.out, *target]):
        return code
    text = render_table(timers, time.perf_counter() - started, missing)
    if arguments.table:
        arguments.table.write_text(text + "\n")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
