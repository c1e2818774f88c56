"""The plan of a stream follows the channel's policy."""

import pytest

from defacer.engine.tracking.identity import limits_of
from defacer.pipeline.errors import PermanentError
from defacer.web.live.engine_adapter import plan_stream
from defacer.web.live.stream_request import StreamRequest
from tests.cloud import Buckets

POLICY = "channels/street/policy.json"


@pytest.mark.parametrize(
    ("policy", "match"),
    [
        (b"{}", 0.97),
        (b'{"recognition": "strict"}', 0.85),
        (b'{"recognizer": "facenet-casia", "recognition": "lenient"}', 0.75),
        (b'{"recognizer": "sface", "match_threshold": 0.9}', 0.9),
    ],
)
def test_stream_uses_its_channels_match_threshold(buckets: Buckets, policy: bytes, match: float) -> None:
    buckets.put(buckets.intake, POLICY, policy)
    assert limits_of(plan_stream(StreamRequest(channel="street")).options).match == match


def test_stream_of_channel_with_unknown_recognizer_is_refused(buckets: Buckets) -> None:
    buckets.put(buckets.intake, POLICY, b'{"recognizer": "casia-webface"}')
    with pytest.raises(PermanentError, match="\"recognizer\" is 'casia-webface': input should be 'sface'"):
        plan_stream(StreamRequest(channel="street"))
