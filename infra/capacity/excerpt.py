"""What `infra/README.md` shows of `infra/CAPACITY.md`: the tables and plots that a deployment is decided by."""

import re

TITLE = "## Cost and capacity\n"
SHOWN = ("A minute of video", "An hour of video", "A day of ")
FIRST = "What is reached first:\n"
INTRODUCTION = """
*An excerpt of `CAPACITY.md`, which explains the method and lists the source of each input. `make capacity` writes both.
Nothing was run on Google Cloud, and the speed of an L4 is an assumption.*
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
