"""Ask the user before data is deleted."""

import sys

from defacer.commands.common.exit_codes import UsageError


def is_confirmed(question: str, yes: bool) -> bool:
    """Ask on standard error, unless `yes`. Return whether the answer is yes; a piped answer counts too."""
    if yes:
        return True
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline() if sys.stdin else ""
    if not answer:  # end of file: an empty line has a line break
        print(file=sys.stderr, flush=True)
        raise UsageError("The standard input has no answer. Add --yes to skip the question.")
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("Nothing was changed.", file=sys.stderr)
    return False
