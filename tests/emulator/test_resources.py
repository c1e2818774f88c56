from defacer.pipeline.settings import Settings
from defacer.pipeline.topology import FUNCTIONS, LOST_LETTERS, LOST_LETTERS_SUBSCRIPTION, TOPICS, WEBHOOK
from defacer_emulator.resources import Resources
from tests.servers import ROOT

ALL = (*FUNCTIONS, WEBHOOK)
RESOURCES = Resources("some-project")


def test_emulator_environment_has_the_functions_settings() -> None:
    settings = Settings.from_environment(RESOURCES.environment())

    assert (settings.intake_bucket, settings.work_bucket, settings.output_bucket) == RESOURCES.buckets
    used = {
        settings.uploads_topic,
        settings.segments_topic,
        settings.segments_done_topic,
        settings.job_events_topic,
    }
    assert used < set(TOPICS)


def test_every_function_has_an_entry_point_and_a_topic() -> None:
    for function in ALL:
        assert (ROOT / "functions" / "defacer" / function.source).is_file()
        assert function.topic in TOPICS


def test_topology_is_within_the_limits_of_pubsub() -> None:
    for function in ALL:
        assert 10 <= function.ack_deadline_seconds <= 600
        assert 5 <= function.max_delivery_attempts <= 100
    for name in (*TOPICS, LOST_LETTERS_SUBSCRIPTION, *(function.subscription for function in ALL)):
        assert len(name) >= 3


def test_dead_letters_end_in_the_lost_letters_without_a_cycle() -> None:
    next_topic = {function.topic: function.dead_letter_topic for function in ALL}
    for topic in next_topic:
        seen = []
        while topic in next_topic:
            assert topic not in seen
            seen.append(topic)
            topic = next_topic[topic]
        assert topic == LOST_LETTERS
