"""Count the storage requests of a healthy job: `infra/capacity/inputs.toml` has these figures."""

from collections import Counter

import pytest

from tests.protocol.healthy import requests_of_healthy_job

FEW, MANY = 4, 12  # segments


def count_requests(segments: int) -> Counter[str]:
    """Run a job of this many segments, one delivery after the other, and count its requests by kind."""
    return Counter(request.kind for request in requests_of_healthy_job(segments))


def test_a_segment_costs_the_counted_requests() -> None:
    few, many = count_requests(FEW), count_requests(MANY)
    added = {kind: (many[kind] - few[kind]) / (MANY - FEW) for kind in many}
    assert added["find"] + added["read"] == pytest.approx(22, abs=0.5)
    assert added["list"] == pytest.approx(9, abs=0.5)
    assert added["write"] == 5
