"""Check the arguments of `make demo` before anything is installed. Standard library only.

    python3 -m defacer_emulator.setup.preflight --video in.mp4 --target me.jpg --mode blur --out out.mp4

An empty value means that the argument was not given.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from defacer.commands.common.result_files import check_result
from defacer.engine.errors import EngineError
from defacer_emulator.errors import EmulatorUsageError
from defacer_emulator.setup.files import check_inputs, check_mode


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if the arguments are valid. Otherwise, print the reason and return 2."""
    parser = argparse.ArgumentParser(prog="python3 -m defacer_emulator.setup.preflight", allow_abbrev=False)
    for name in ("video", "target", "mode", "replacement", "out"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--force", action="store_true")
    given = parser.parse_args(arguments)
    video, out = Path(given.video) if given.video else None, Path(given.out) if given.out else None
    replacement = Path(given.replacement) if given.replacement else None
    target = Path(given.target) if given.target else None
    try:
        check_mode(given.mode or None, replacement)
        if out:
            inputs = filter(None, (video, target, replacement))
            check_result(out, inputs, force=given.force, option="FORCE=1")
        check_inputs("demo", video, [target] if target else [], replacement)
    except (EmulatorUsageError, EngineError) as error:
        print(f"make demo: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
