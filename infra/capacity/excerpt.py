"""What `infra/README.md` shows of `infra/CAPACITY.md`: the tables and plots that a deployment is decided by."""

import re

TITLE = "## Cost and capacity\n"
SHOWN = ("A minute of video", "An hour of video", "A day of ")
FIRST = "What is reached first:\n"
INTRODUCTION = """
*From `CAPACITY.md`, which says how it is reckoned and where each input comes from; `make capacity` writes both. Nothing
of it was run on Google Cloud, and how quick an L4 is was assumed.*
"""


def excerpt(page: str) -> str:
    """The section of the README, from the text of the page."""
    found = [TITLE, INTRODUCTION]
    for section in re.split(r"^## ", page, flags=re.MULTILINE):
        heading, _, text = section.partition("\n")
        if heading.startswith(SHOWN):
            tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
            plots = re.findall(r"^!\[.*\n", text, re.MULTILINE)
            found += [f"\n### {heading}\n\n", "\n".join(tables), "\n" if plots else "", *plots]
        if FIRST in text:
            found += [
                "\n### What is reached first\n\n",
                *re.findall(r"^\|.*\n", text.split(FIRST)[1], re.MULTILINE),
            ]
    return "".join(found)


def with_excerpt(readme: str, page: str) -> str:
    """The README with its section as the page has it now."""
    return re.sub(
        rf"^{TITLE}.*?\n(?=## )", lambda _: excerpt(page) + "\n", readme, flags=re.MULTILINE | re.DOTALL
    )
