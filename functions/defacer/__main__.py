"""`python -m defacer`: the command `defacer`, for environments whose scripts are not on the path."""

import sys

from defacer.commands.app import main

if __name__ == "__main__":
    sys.exit(main())
