"""Run one harness under atheris: `python -m tests.fuzz.one NAME`, with libFuzzer's arguments."""

import sys

import atheris

with atheris.instrument_imports(include=["defacer"]):
    from defacer.engine.media import reader
    from tests.fuzz.harnesses import HARNESSES

# The reader seeks a key frame for each second of the duration in a header, and most generated headers claim days.
MAX_SECONDS = 60

if __name__ == "__main__":
    _, name, *arguments = sys.argv
    reader.MAX_SECONDS = MAX_SECONDS
    atheris.Setup([name, *arguments], HARNESSES[name])
    atheris.Fuzz()
