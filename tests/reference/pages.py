"""Fill the marked parts of Markdown pages.

A part begins with the line `<!-- generated: NAME -->` and ends with the line `<!-- end -->`. NAME is a key of PARTS.
The text around the parts is written by hand.
"""

import re
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from defacer.pipeline import settings
from defacer.pipeline.documents.job_records import JobEvent, JobEventData
from defacer.pipeline.documents.manifest import Policy, RerenderRecord
from defacer.pipeline.documents.report import ReportHead, ResultCheck
from defacer.report.changes import SourceChange
from defacer.report.tracks import FacesHead, TargetWarning, TrackRecord
from tests.reference.command_help import command_reference
from tests.reference.diagram import state_diagram
from tests.reference.tables import (
    advice_table,
    change_code_table,
    error_code_table,
    exit_code_table,
    field_table,
    settings_table,
    terraform_table,
)
from tests.reference.worked_example import worked_example
from tests.servers import ROOT

MARKED = re.compile(r"(?<=<!-- generated: )(.+?)( -->\n).*?(?=<!-- end -->\n)", re.DOTALL)
SETTINGS_GROUPS = settings.Settings.__bases__
PARTS: Mapping[str, Callable[[], str]] = {
    **{group.__name__: partial(settings_table, group) for group in SETTINGS_GROUPS},
    "Policy": partial(field_table, Policy, with_default=True),
    **{
        record.__name__: partial(field_table, record)
        for record in (
            *(JobEvent, JobEventData, ReportHead, RerenderRecord),
            *(ResultCheck, FacesHead, TargetWarning, TrackRecord, SourceChange),
        )
    },
    "codes of warnings": advice_table,
    "codes of changes": change_code_table,
    "error codes": error_code_table,
    "Terraform variables": terraform_table,
    "exit codes": exit_code_table,
    "commands": command_reference,
    "states of a job": state_diagram,
    "worked example": worked_example,
}


def markdown_pages() -> list[Path]:
    """Return all Markdown files of the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def parts_of(text: str) -> list[str]:
    """Return the names of the marked parts of a page."""
    return [part[1] for part in MARKED.finditer(text)]


def fill(text: str) -> str:
    """Return the page with the text of each marked part."""
    return MARKED.sub(lambda part: f"{part[1]}{part[2]}\n{PARTS[part[1]]()}\n", text)


def filled_pages() -> dict[Path, str]:
    """Return the new text of each page that has marked parts."""
    texts = {page: page.read_text() for page in markdown_pages()}
    return {page: fill(text) for page, text in texts.items() if parts_of(text)}
