"""The command `defacer`, also as `python -m defacer` for environments whose scripts are not on the path."""

import os
import sys


def main() -> int:
    """Run the command and return its exit code. Ctrl-C while modules are imported ends it as later on."""
    try:
        from defacer.commands.app import main as run
    except KeyboardInterrupt:
        print("error: Interrupted.", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    # `python -m` puts the current folder first. It can be a folder of downloads, so nothing is imported from there.
    if not sys.flags.safe_path and not __file__.startswith(os.path.join(sys.path[0], "")):
        del sys.path[0]
    sys.exit(main())
