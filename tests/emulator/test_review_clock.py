"""The emulator's clock, which ends the waits for a person and repairs the turns."""

import os
from dataclasses import dataclass

import pytest

from defacer.pipeline.messaging.pubsub import REVIEW_CHECK
from defacer.pipeline.storage import object_names
from defacer_emulator.resources import Resources
from defacer_emulator.services import review_clock
from tests.cloud import PROJECT, Buckets, Topics

JOB = "0123456789abcdef0123"


@dataclass(frozen=True)
class TestResources(Resources):
    """The resources of one test."""

    __test__ = False
    bucket: str = ""

    @property
    def work(self) -> str:
        return self.bucket


def test_clock_sends_messages_only_while_a_job_waits(
    buckets: Buckets, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_clock, "CLOCK_SECONDS", 0.02)
    monkeypatch.setattr(review_clock, "UPLOADS", topics.uploads)
    resources = TestResources(PROJECT, bucket=buckets.work)
    host = os.environ["PUBSUB_EMULATOR_HOST"]
    with review_clock.run_review_clock(buckets.client, host, resources):
        buckets.put(buckets.work, object_names.faces(JOB), b"{}")
        assert topics.all(topics.uploads) == []
        buckets.put(buckets.work, object_names.waiting_entry(JOB), b"{}")
        message = topics.wait_for(topics.uploads, 2)[-1]["message"]
    assert message["attributes"]["type"] == REVIEW_CHECK


def test_clock_repairs_turns_at_longer_intervals(
    buckets: Buckets, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed emulator can have ended a job before it called the next upload."""
    monkeypatch.setattr(review_clock, "CLOCK_SECONDS", 0.02)
    monkeypatch.setattr(review_clock, "REPAIR_SECONDS", 0.1)
    monkeypatch.setattr(review_clock, "UPLOADS", topics.uploads)
    resources = TestResources(PROJECT, bucket=buckets.work)
    buckets.put(buckets.work, object_names.turn("street", JOB), b"{}")
    with review_clock.run_review_clock(buckets.client, os.environ["PUBSUB_EMULATOR_HOST"], resources):
        message = topics.wait_for(topics.uploads, 1)[-1]["message"]
    assert message["attributes"]["type"] == REVIEW_CHECK
