"""One harness under atheris: `python -m tests.fuzz.one NAME` and libFuzzer's arguments."""

import sys

import atheris

with atheris.instrument_imports(include=["functions"]):
    from tests.fuzz.harnesses import HARNESSES

if __name__ == "__main__":
    _, name, *arguments = sys.argv
    atheris.Setup([name, *arguments], HARNESSES[name])
    atheris.Fuzz()
