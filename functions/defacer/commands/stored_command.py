"""Run the command line that an object has: `python -m defacer.commands.stored_command NAME`, as the Cloud Run job does.

Cloud Run records the arguments of each execution and logs its output, and both can name people. So the command line is
in `commands/NAME` of the work bucket, and its output goes to `commands/NAME.out`.
"""

import io
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout

from defacer.commands import app
from defacer.commands.common.exit_codes import UsageError, run_cli
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

MAX_BYTES = 64 * 1024
TEXT = "text/plain; charset=utf-8"


def main(arguments: Sequence[str]) -> int:
    """Run the stored command and return its exit code. If it succeeded, delete the object with the command line."""
    return run_cli(lambda: _run(*arguments) if len(arguments) == 1 else _refuse_arguments())


def _run(name: str) -> int:
    bucket, request, result = settings().work_bucket, object_names.stored_command(name), f"{name}.out"
    blob = objects.find_blob(bucket, request)
    if blob is None:
        raise UsageError(f"gs://{bucket}/{request} does not exist. Write a command line to it.")
    if blob.size > MAX_BYTES:
        raise UsageError(f"gs://{bucket}/{request} has {blob.size} bytes, at most {MAX_BYTES} are allowed.")
    ref = objects.reference(blob)
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        code = run_cli(lambda: app.main(_split(objects.read(ref))))
    written = object_names.stored_command(result)
    objects.delete_any(bucket, written)
    objects.write_once(bucket, written, output.getvalue().encode(), TEXT)
    if code == 0:
        objects.delete(ref)
    print(f"The command ended with exit code {code}. Its output is in gs://{bucket}/{written}.")
    return code


def _split(data: bytes) -> list[str]:
    """Return the words of a command line, without the word `defacer` at its start."""
    try:
        words = shlex.split(data.decode())
    except ValueError as error:
        raise UsageError(f"The object is not a command line: {error}. Write it again.") from error
    return words[1:] if words[:1] == ["defacer"] else words


def _refuse_arguments() -> int:
    raise UsageError("Expected one argument: the name of an object below commands/ in the work bucket.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
