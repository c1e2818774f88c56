"""No value of a policy keeps everyone. Ingest, the JSON Schema and the command line have the same limits."""

import json
import re

import pytest

from defacer.engine.errors import ArgumentError
from defacer.engine.option_check import check_options
from defacer.engine.options import Options, RecognizerName
from defacer.pipeline.channel import parse_policy
from defacer.pipeline.documents.manifest import MAX_MATCH_THRESHOLDS, Policy
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from tests.servers import ROOT

PAGE = ROOT / "functions" / "defacer" / "ingest" / "POLICY.md"


@pytest.mark.parametrize("recognizer", MAX_MATCH_THRESHOLDS)
@pytest.mark.parametrize("excess", [0.01, 1, 1000])
def test_threshold_above_the_limit_is_refused(recognizer: RecognizerName, excess: float) -> None:
    largest = MAX_MATCH_THRESHOLDS[recognizer]
    distance = largest + excess
    with pytest.raises(PermanentError) as found:
        parse_policy(
            json.dumps({"recognizer": recognizer, "match_threshold": distance}).encode(), "policy.json"
        )
    assert found.value.code == ErrorCode.BAD_POLICY
    expected = f'"match_threshold" is {distance:g}, at most {largest:g} is allowed for {recognizer}'
    assert expected in str(found.value)
    with pytest.raises(ArgumentError, match=f"{distance:g} is out of range. For {recognizer}"):
        check_options(
            Options(recognizer=recognizer, recognition=None, match_threshold=distance), has_replacement=False
        )


def test_old_field_that_kept_everyone_is_refused() -> None:
    with pytest.raises(PermanentError, match='"keep_distance" is not a field'):
        parse_policy(b'{"keep_distance": 2}', "policy.json")


@pytest.mark.parametrize(
    "policy",
    [
        {"strength": 0.9},
        {"strength": 0},
        {"mode": "none"},
        {"margin": 0},
        {"min_face": 500},
        {"confidence": 1},
    ],
)
def test_weaker_redaction_is_refused(policy: dict[str, object]) -> None:
    with pytest.raises(PermanentError, match="policy"):
        parse_policy(json.dumps(policy).encode(), "policy.json")


def test_schema_has_the_limit_of_each_recognizer() -> None:
    schema = Policy.model_json_schema()
    number, _ = schema["properties"]["match_threshold"]["anyOf"]
    assert (number["exclusiveMinimum"], number["maximum"]) == (0, max(MAX_MATCH_THRESHOLDS.values()))
    limits = {
        rule["if"]["properties"]["recognizer"]["const"]: rule["then"]["properties"]["match_threshold"][
            "maximum"
        ]
        for rule in schema["allOf"]
    }
    assert limits == MAX_MATCH_THRESHOLDS
    assert schema["dependentRequired"] == {"match_threshold": ["recognizer"]}
    assert schema["additionalProperties"] is False


def test_page_says_of_each_field_how_it_is_limited() -> None:
    """This fails for a new field until the page says whether it can show people."""
    section = PAGE.read_text().split("## What a policy can't do")[1].split("\n## ")[0]
    assert set(Policy.model_fields) <= set(re.findall(r"`(\w+)`", section))
