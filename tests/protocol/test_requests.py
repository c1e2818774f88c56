"""Count the storage requests of a healthy job: `infra/capacity/inputs.toml` has these figures."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.protocol.engine import Clip
from tests.protocol.memory import Answer
from tests.protocol.model import InterleavingRun
from tests.protocol.scenario import draw
from tests.protocol.world import World

FEW, MANY = 4, 12  # segments


def count_requests(segments: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Run a job of this many segments, one delivery after the other, and count its requests by kind."""
    counts: Counter[str] = Counter()
    gate = World.gate

    def counting(world: World, label: str, effect: Callable[[], Answer]) -> Answer:
        counts[label.partition(" ")[0]] += 1
        return gate(world, label, effect)

    rng = random.Random(0)
    healthy = replace(
        draw(rng), clips=(Clip(segments),), actions={}, actions_before=(), trouble={}, targets=True,
        delete_source=False, keep_going=1.0, slow_copies=False,
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(World, "gate", counting)
        outcome = InterleavingRun(rng, healthy).check(0)
    assert outcome.violations == []
    assert outcome.published == 1
    return counts


def test_a_segment_costs_the_counted_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = count_requests(FEW, monkeypatch), count_requests(MANY, monkeypatch)
    added = {kind: (many[kind] - few[kind]) / (MANY - FEW) for kind in many}
    assert added["find"] + added["read"] == pytest.approx(22, abs=0.5)
    assert added["list"] == pytest.approx(9, abs=0.5)
    assert added["write"] == 5
