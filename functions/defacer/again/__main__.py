"""python -m defacer.again JOB --keep TRACK --hide TRACK."""

import sys

from defacer.again.command_line import main

if __name__ == "__main__":
    sys.exit(main())
