"""Run a job without faults, one delivery after the other, and record its requests."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from defacer.pipeline.messaging.pubsub import Message
from tests.protocol.engine import Clip
from tests.protocol.memory import Answer
from tests.protocol.model import InterleavingRun
from tests.protocol.scenario import draw
from tests.protocol.world import World


@dataclass(frozen=True)
class Request:
    """A request of a delivery to storage or messaging, such as "write jobs/ID/manifest.json if 0"."""

    delivery: int
    function: str
    topic: str
    message: Message
    label: str

    @property
    def kind(self) -> str:
        return self.label.partition(" ")[0]


def requests_of_healthy_job(segments: int, seed: int = 0) -> list[Request]:
    """Return the requests of a job with this many segments and a target, in order. `seed` orders the messages."""
    requests: list[Request] = []
    gate = World.gate

    def record(world: World, label: str, effect: Callable[[], Answer]) -> Answer:
        if world._running is not None:
            delivery = world._running
            queued = delivery.queued
            requests.append(Request(delivery.number, delivery.function, queued.topic, queued.message, label))
        return gate(world, label, effect)

    rng = random.Random(seed)
    healthy = replace(
        draw(rng), clips=(Clip(segments),), actions={}, actions_before=(), trouble={}, targets=True,
        delete_source=False, keep_going=1.0, slow_copies=False, engine_differs=False, confirm_seconds=None,
        channel_segments=20,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "gate", record)
        outcome = InterleavingRun(rng, healthy).check(0)
    assert outcome.violations == []
    assert outcome.published == 1
    return requests
