"""The excerpt of `infra/CAPACITY.md` in `infra/README.md`: the tables and plots for deciding on a deployment."""

import re

TITLE = "## Cost and capacity\n"
SHOWN = ("A minute of video", "An hour of video", "A day of ")
FIRST = "The limits, sorted by the hours of video that reach them:\n"
INTRODUCTION = """
*An excerpt of `CAPACITY.md`, which explains the method and lists the source of each input. `make capacity` writes both.
Nothing was run on Google Cloud, and the speed of an L4 is an assumption.*
"""


def extract_excerpt(page: str) -> str:
    """Return the README's section, extracted from the page."""
    found = [TITLE, INTRODUCTION]
    for section in re.split(r"^## ", page, flags=re.MULTILINE):
        heading, _, text = section.partition("\n")
        if heading.startswith(SHOWN):
            tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
            plots = re.findall(r"^!\[.*\n", text, re.MULTILINE)
            found += [f"\n### {heading}\n\n", "\n".join(tables), "\n" if plots else "", *plots]
        if FIRST in text:
            found += [
                "\n### Limits\n\n",
                *re.findall(r"^\|.*\n", text.split(FIRST)[1], re.MULTILINE),
            ]
    return "".join(found)


def replace_excerpt(readme: str, page: str) -> str:
    """Return the README with its section replaced by the page's current excerpt."""
    return re.sub(
        rf"^{TITLE}.*?\n(?=## )",
        lambda _: extract_excerpt(page) + "\n",
        readme,
        flags=re.MULTILINE | re.DOTALL,
    )
