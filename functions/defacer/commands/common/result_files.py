"""The files that a job's result is saved to. Standard library only: `make demo` checks them before it installs."""

from collections.abc import Iterable
from pathlib import Path

from defacer.engine.output_paths import OutputPathError, check_outputs


def report_beside(out: Path) -> Path:
    """Return the path of a result's report: `X.report.jsonl` for `X.mp4`, as in the output bucket."""
    return out.with_name(out.name.removesuffix(".mp4") + ".report.jsonl")


def check_result(
    out: Path, inputs: Iterable[Path] = (), *, force: bool = False, option: str = "--force"
) -> None:
    """Raise OutputPathError if the result or its report can't be written, before the work is done."""
    if out.suffix.lower() != ".mp4":
        raise OutputPathError(f"The result is an MP4: name it {out.with_suffix('.mp4')}, not {out.name}.")
    check_outputs([out, report_beside(out)], inputs, force=force, option=option)
