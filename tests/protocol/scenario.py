"""Draw an interleaving from its seed: its uploads, the other actions of users, and its faults."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from defacer.pipeline.programming_errors import MAX_ATTEMPTS
from defacer.pipeline.topology import FUNCTIONS
from tests.protocol.engine import Clip

VIDEO = "channels/street/videos/walk.mp4"
RESULT = "channels/street/walk.mp4"
REPORT = "channels/street/walk.report.jsonl"
BAD_STEPS = ("probe", "find 0", "hide 0", "check 1", "join")
# Faults of the platform and of Pub/Sub. Each hits the delivery that runs in that step.
TROUBLE = {
    "killed before": 1, "killed after": 1,  # the process dies: before its request takes effect, or before the answer
    "fault before": 1, "fault after": 1,  # the request fails for good: without effect, or with a lost answer
    "lost answer": 1,  # the client's first attempt loses its answer, and is repeated
    "stall": 4,  # the process pauses, up to beyond its lease, its deadline and that of the message
    "timeout": 1,  # its message is redelivered while it runs
    "duplicate": 2,  # a message, done or not, is delivered once more
}  # fmt: skip
# How long a stall is, in time and in steps of other deliveries. The lease is 90 s, the deadline 540 s.
STALL_SECONDS = (35, 35, 95, 200, 700)
STALL_STEPS = (3, 10, 30, 100, 300, 300)
# Aims at the requests that begin and end the wait for a person. With them, every scenario has jobs that wait.
FACES, WAITING_LIST = "faces.jsonl", "delete waiting/"
BUG = "bug"  # the code of a function raises a TypeError instead of sending its request
# A fault hits the first request after its step with this in its name. So faults hit important requests, and two faults
# hit the same kind of request more often than by chance.
AIMS = (
    "", "", "leases/", "-lease.json", "manifest",
    "gallery-", "segment-detections/", FACES, "segments/", "merge/", "verdict", "failed",
    "published", "copy to", "publish on", "delete",
)  # fmt: skip
# The limits of the subscriptions (topology.py); 5, the lowest limit of Pub/Sub; and 2, because it is applied only "on a
# best effort basis".
DELIVERIES = (
    {function.name: function.max_delivery_attempts for function in FUNCTIONS},
    {"ingest": 5, "worker": 5, "merge": 5},
    {"ingest": 2, "worker": 2, "merge": 2},
)


def _has_words(label: str, words: str) -> bool:
    return all(word in label for word in words.split())


@dataclass(frozen=True)
class Trouble:
    """A fault, and the words in the name of the request that it hits."""

    kind: str
    aim: str

    def hits(self, label: str) -> bool:
        return _has_words(label, self.aim)


@dataclass(frozen=True)
class Before:
    """An action of a user before the n-th request that has all these words in its name."""

    words: str
    times: int
    action: str

    def hits(self, label: str) -> bool:
        return _has_words(label, self.words)


@dataclass(frozen=True)
class Scenario:
    """The uploads, actions and faults of an interleaving.

    `trouble` and `actions` happen at the first chance after the step with their number. `actions_before` happen before
    a certain request. Without `requeues` dead letters are not requeued, so more jobs fail. A slow copy is read and
    written at two moments, and its source can be deleted between them. With `confirm_seconds` each job waits for a
    person during this time, and is published with everyone hidden after that if `publish_hidden`. A
    channel has at most `channel_segments` in the queue, and a job has half of them.
    """

    clips: tuple[Clip, ...]
    actions: Mapping[int, str]
    actions_before: tuple["Before", ...]
    trouble: Mapping[int, Trouble]
    targets: bool
    delete_source: bool
    versioned: bool
    deliveries: Mapping[str, int]
    segment_attempts: int
    max_timeouts: int
    requeues: bool
    engine_differs: bool
    keep_going: float
    slow_copies: bool = False
    confirm_seconds: float | None = None
    publish_hidden: bool = False
    channel_segments: int = 20

    @property
    def has_bugs(self) -> bool:
        """Return whether a job can fail because of its bugs alone."""
        return sum(trouble.kind == BUG for trouble in self.trouble.values()) >= MAX_ATTEMPTS

    @property
    def all_actions(self) -> set[str]:
        return {*self.actions.values(), *(before.action for before in self.actions_before)}

    @property
    def harmless(self) -> bool:
        """Return whether every healthy job has to be published, because no message runs out of deliveries."""
        return self.deliveries == DELIVERIES[0]


def draw(rng: random.Random, aim: str | None = None) -> Scenario:
    """Draw a scenario. With `aim` all faults hit requests of that name, and no clip is bad."""
    uploads = rng.choice((1, 1, 2) if aim is None else (1, 2))
    same = Clip(rng.choice((1, 1, 2, 3)))
    share_of_bad = 0.12 if aim is None else 0.0
    clips = tuple(
        Clip(same.segments, rng.choice(BAD_STEPS)) if rng.random() < share_of_bad else same
        for _ in range(uploads)
    )
    length = uploads * (90 + 65 * same.segments)  # about as many steps as it takes without faults
    targets = rng.random() < 0.5
    scenario = Scenario(
        clips=clips,
        actions=dict(_actions(rng, length, uploads, targets)),
        actions_before=tuple(_actions_before(rng, uploads, aim)),
        trouble=dict(_trouble(rng, length, aim)),
        targets=targets,
        delete_source=rng.random() < 0.3,
        versioned=rng.random() < 0.5,
        deliveries=rng.choices(DELIVERIES, (5, 3, 2) if aim is None else (1, 1, 1))[0],
        segment_attempts=rng.choice((5, 5, 2)),
        max_timeouts=rng.choice((1, 1, 3)),
        requeues=rng.random() < 0.5,
        engine_differs=rng.random() < 0.5,
        keep_going=rng.choice((0.0, 0.6, 0.9)),
    )
    # These are drawn separately, so that earlier seeds keep their scenarios.
    scenario = _with_rerenders(scenario, length, aim)
    # Not if the merge can die after a late copy: without another message, no process would detect that copy.
    dies = any(trouble.kind.startswith("killed") for trouble in scenario.trouble.values())
    alone = not any(action.startswith(("erase", "a foreign")) for action in scenario.all_actions)
    slow = alone and not dies and random.Random(f"slow copies {scenario!r}").random() < 0.5
    rooms = random.Random(f"room in the queue {scenario!r}").choice((1, 1, 2, 4, 20))
    scenario = replace(scenario, slow_copies=slow, channel_segments=rooms)
    return _with_bugs(_with_confirmation(scenario, length, aim), length)


def _with_confirmation(scenario: Scenario, length: int, aim: str | None) -> Scenario:
    """Let jobs wait for a person in a third of the interleavings, and let people and the clock come at any time."""
    rng = random.Random(f"confirmation {scenario!r}")
    if rng.random() < 2 / 3 and aim not in (FACES, WAITING_LIST):
        return scenario
    steps = {rng.randrange(length): rng.choice(("confirm", "clock")) for _ in range(rng.choice((0, 2, 6)))}
    # A merge finds no faces twice, writes them, and finds them. A person can confirm just before.
    at_once = Before("find faces.jsonl", 3, "confirm")
    return replace(
        scenario,
        actions_before=(*scenario.actions_before, *((at_once,) if rng.random() < 0.2 else ())),
        confirm_seconds=rng.choice((5, 60, 600, 3600)),
        publish_hidden=rng.random() < 0.5,
        actions={**steps, **scenario.actions},
    )


def _with_bugs(scenario: Scenario, length: int) -> Scenario:
    """Let a request of some kind raise a TypeError in a tenth of the interleavings, often enough to fail a job."""
    rng = random.Random(f"bugs {scenario!r}")
    if rng.random() < 0.9:
        return scenario
    bug = Trouble(BUG, rng.choice(AIMS))
    steps = rng.sample(range(length), rng.choice((1, 2, 4, 6)))
    return replace(scenario, trouble={**scenario.trouble, **dict.fromkeys(steps, bug)})


def _with_rerenders(scenario: Scenario, length: int, aim: str | None) -> Scenario:
    """Request one or two re-renders in half of the interleavings, at a time when the job can be published."""
    rng = random.Random(repr(scenario))  # separate, so that earlier seeds keep their scenarios
    if rng.random() < 0.5:
        return scenario
    first = length + rng.randrange(length // 2)
    steps = [first, first + 1 + rng.randrange(rng.choice((3, 50, 150)))][: rng.choice((1, 2))]
    trouble = {first + step: what for step, what in _trouble(rng, length, aim)}
    return replace(
        scenario,
        actions={**scenario.actions, **dict.fromkeys(steps, "rerender")},
        trouble={**scenario.trouble, **trouble},
    )


def _actions(rng: random.Random, length: int, uploads: int, targets: bool) -> Iterator[tuple[int, str]]:
    if uploads == 2:
        yield rng.randrange(length), "upload"
    if rng.random() < 0.15:
        yield rng.randrange(length), "delete the source"
    if targets and rng.random() < 0.3:
        yield rng.randrange(30), "another target"
    if targets and rng.random() < 0.2:
        yield rng.randrange(30), "remove the target"
    if rng.random() < 0.1:
        yield rng.randrange(length), "a foreign result"
    if rng.random() < 0.05:
        yield rng.randrange(length), "a foreign report"
    if rng.random() < 0.12:
        yield rng.randrange(length), f"erase {rng.randrange(uploads)}"


def _actions_before(rng: random.Random, uploads: int, aim: str | None) -> Iterator[Before]:
    if rng.random() < (0.08 if aim is None else 0.3):
        words = rng.choice((f"copy to {REPORT}", "write verdict.json"))
        yield Before(words, rng.choice((1, 2, 2, 3)), "a foreign report")
    if rng.random() < 0.08:
        yield Before(rng.choice(AIMS[2:]), rng.choice((1, 1, 2, 5)), f"erase {rng.randrange(uploads)}")


def _trouble(rng: random.Random, length: int, aim: str | None) -> Iterator[tuple[int, Trouble]]:
    aims = rng.choices(AIMS, k=2) if aim is None else (aim, aim, aim, "")
    for _ in range(rng.choice((0, 2, 4, 8, 12) if aim is None else (2, 4))):
        kind = rng.choices(tuple(TROUBLE), tuple(TROUBLE.values()))[0]
        if aim is not None and rng.random() < 0.5:
            kind = "stall"
        yield rng.randrange(length if aim is None else 30), Trouble(kind, rng.choice(aims))
