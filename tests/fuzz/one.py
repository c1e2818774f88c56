"""One harness under atheris: `python -m tests.fuzz.one NAME` and libFuzzer's arguments."""

import sys

import atheris

with atheris.instrument_imports(include=["functions"]):
    from defacer.engine.media import reader
    from tests.fuzz.harnesses import HARNESSES

# Key frames are looked up for each second of what a header claims, and most of what is made up claims days.
MAX_SECONDS = 60

if __name__ == "__main__":
    _, name, *arguments = sys.argv
    reader.MAX_SECONDS = MAX_SECONDS
    atheris.Setup([name, *arguments], HARNESSES[name])
    atheris.Fuzz()
