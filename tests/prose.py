"""Check the prose of the repository: words that CONTRIBUTING.md replaces, long sentences, long test names.

`make lint` runs it. Prose is the text of Markdown files and pages, and the strings, comments and docstrings of Python
files. Code in backticks is not prose.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_SENTENCE_WORDS = 32  # in Markdown
MAX_TEST_NAME = 70  # characters

# A pattern, and what to write instead.
REPLACEMENTS = {
    r"nobody|somebody": "no one, someone, or the name of the role",
    r"whoever|whom": "the noun",
    r"anew": "again",
    r"meanwhile|besides": "also, or a new sentence",
    r"for ever": "forever, or without a limit",
    r"such that": "so that",
    r"looked (?:for|at|through)": "detected, checked, searched",
    r"comes? (?:back|twice)": "is redelivered, returns",
    r"(?:colour|neighbour|behaviour|favour)\w*": "the American spelling: color, neighbor, behavior, favor",
    r"recognis\w+|summaris\w+|normalis\w+|initialis\w+|optimis\w+|serialis\w+": "the American spelling: -ize",
    r"licences?|grey|centred|labelled": "the American spelling: license, gray, centered, labeled",
}
PATTERNS = {
    re.compile(rf"\b(?:{words})\b", re.IGNORECASE): instead for words, instead in REPLACEMENTS.items()
}
Line = tuple[int, str]  # number, text


def read_markdown(text: str) -> Iterator[Line]:
    """Yield the lines outside code blocks, without code in backticks and link targets."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "X", line))


def read_python(text: str) -> Iterator[Line]:
    """Yield strings of several words, docstrings and comments."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, re.sub(r"`[^`]*`", "X", line)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def read_page(text: str) -> Iterator[Line]:
    """Yield the lines of an HTML page without its tags."""
    for number, line in enumerate(text.splitlines(), 1):
        yield number, re.sub(r"<[^>]*>|\{[{%].*?[%}]\}", " ", line)


READERS = {".md": read_markdown, ".py": read_python, ".html": read_page}


def find_long_sentences(text: str) -> Iterator[Line]:
    """Yield each sentence of Markdown that has too many words. A list item or table cell ends a sentence."""
    block: list[str] = []
    start = 0
    for number, line in [*read_markdown(text), (0, "")]:
        starts_block = not line.strip() or re.match(r"\s*(?:[-*|#>]|\d+\.)", line)
        if starts_block or not block:
            for part in re.split(r"(?<=[.!?:])\s|\|", " ".join(block)):
                if len(part.split()) > MAX_SENTENCE_WORDS:
                    yield start, part
            block, start = [], number
        block.append(line)


def find_faults(path: Path) -> Iterator[str]:
    """Yield a sentence for each fault of a file."""
    text = path.read_text(encoding="utf-8")
    for number, line in READERS[path.suffix](text):
        for pattern, instead in PATTERNS.items():
            for found in pattern.finditer(line):
                yield f"{number}: {found[0]!r}. Write {instead}."
    if path.suffix == ".md":
        for number, sentence in find_long_sentences(text):
            yield f"{number}: {len(sentence.split())} words in a sentence. Split it: {sentence[:60]} ..."
    for name in (
        re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE) if path.suffix == ".py" else ()
    ):
        if len(name) > MAX_TEST_NAME:
            yield f"0: the name {name} has {len(name)} characters. Use at most {MAX_TEST_NAME}."


def main() -> int:
    """Print each fault as file:line, and return 1 if any was found."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    paths = [
        ROOT / name
        for name in listed.stdout.split("\0")
        if Path(name).suffix in READERS and name != "tests/prose.py"
    ]
    faults = [
        f"{path.relative_to(ROOT)}:{fault}" for path in paths if path.is_file() for fault in find_faults(path)
    ]
    print("\n".join(faults) or f"The prose of {len(paths)} files has no fault.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
