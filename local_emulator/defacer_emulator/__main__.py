"""`python -m defacer_emulator`: see `--help`."""

import sys

from defacer_emulator.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
