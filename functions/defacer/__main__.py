"""`python -m defacer`: the command `defacer`, for environments whose scripts are not on the path."""

import os
import sys

if __name__ == "__main__":
    # `python -m` puts the current folder first. It can be a folder of downloads, so nothing is imported from there.
    if not sys.flags.safe_path and not __file__.startswith(os.path.join(sys.path[0], "")):
        del sys.path[0]

    from defacer.commands.app import main

    sys.exit(main())
