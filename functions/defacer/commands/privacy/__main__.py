"""python -m defacer.commands.privacy erase JOB|channels/NAME, and forget PERSON --channel NAME."""

import signal
import sys

from defacer.commands.privacy_cli import main

if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
