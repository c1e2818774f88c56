"""Reports: the texts for reasons and warnings, and their documentation."""

import re

import pytest

from defacer.report.texts import ADVICE, REASON_TEXT, describe_reason
from defacer.report.tracks import Origin, Reason
from tests.servers import ROOT

PAGE = (ROOT / "functions" / "defacer" / "report" / "README.md").read_text()


def test_every_reason_has_a_text_for_commands() -> None:
    assert set(REASON_TEXT) == set(Reason)


def test_a_reason_names_the_rival_track() -> None:
    assert describe_reason(Reason.RIVAL_NEARER, 4) == "track 4, in the same frame, is nearer to the target"


@pytest.mark.parametrize(
    ("head", "values"),
    [("| `reason` | meaning |", set(Reason)), ("| `origin` | where the track comes from |", set(Origin))],
)
def test_report_page_explains_every_reason_and_origin(head: str, values: set[str]) -> None:
    _, _, table = PAGE.partition(head)
    rows = re.findall(r"^\| (`.*?`) \|", table.split("\n\n")[0], re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == values


def test_advice_for_a_warning_is_one_or_two_sentences() -> None:
    assert all(advice.count(".") <= 2 and advice.endswith(".") for advice in ADVICE.values())
