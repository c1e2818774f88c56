"""python -m defacer.commands JOB --keep TRACK --hide TRACK."""

import sys

from defacer.commands.rerender import main

if __name__ == "__main__":
    sys.exit(main())
