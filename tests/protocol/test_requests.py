"""Count the storage requests of a healthy job: `infra/capacity/inputs.toml` has these figures."""

from collections import Counter

import pytest

from tests.protocol.healthy import requests_of_healthy_job
from tests.protocol.world import Delivery, World

FEW, MANY = 4, 12  # segments
SHUFFLES = 12
READ, WRITE = 0.0004, 0.005  # USD for 1,000 requests; a listing costs as much as a write
# Of a segment until 2026-11-29: 44.6 reads, 1.6 listings and 5 writes.
MAX_PRICE = 44.6 * READ + (1.6 + 5) * WRITE


def choose_in_order(world: World) -> Delivery | None:
    """Let a delivery finish before the next one, in the order of the messages, those to merge first."""
    if world._running_deliveries:
        return world._running_deliveries[0]
    waiting = sorted(world.waiting, key=lambda queued: queued.topic != "segments-done")
    return world._deliver(waiting[0]) if waiting else None


def count_requests(segments: int, seed: int = 0) -> Counter[str]:
    """Run a job of this many segments, one delivery after the other, and count its requests by kind."""
    counts = Counter(request.kind for request in requests_of_healthy_job(segments, seed))
    counts["read"] += counts.pop("find")
    return counts


def count_for_a_segment(seed: int = 0) -> dict[str, float]:
    """Return the requests that each additional segment costs."""
    few, many = count_requests(FEW, seed), count_requests(MANY, seed)
    return {kind: (many[kind] - few[kind]) / (MANY - FEW) for kind in ("read", "list", "write")}


def test_segment_costs_the_counted_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "_choose", choose_in_order)
    assert count_for_a_segment() == {"read": 20, "list": 0, "write": 5}
    assert count_requests(FEW)["list"] == 12


def test_shuffled_messages_cost_less_than_before() -> None:
    """The last segment can be done early: then each later message to merge lists the outputs."""
    counts = [count_for_a_segment(seed) for seed in range(SHUFFLES)]
    mean = {kind: sum(count[kind] for count in counts) / SHUFFLES for kind in counts[0]}
    assert mean["read"] == pytest.approx(22.5, abs=0.7)
    assert mean["list"] == pytest.approx(1.2, abs=0.3)
    assert mean["write"] == 5
    assert mean["read"] * READ + (mean["list"] + mean["write"]) * WRITE < MAX_PRICE
