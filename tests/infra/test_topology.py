"""Terraform's names, deadlines, retry policies and environments equal those of the emulator."""

import re
from datetime import timedelta
from typing import Any

from defacer.engine.models.weights import DIRECTORY_VARIABLE
from defacer.pipeline.awaiting_review import GRACE
from defacer.pipeline.messaging.pubsub import REVIEW_CHECK, TYPE
from defacer.pipeline.settings import PREFIX, Settings
from defacer.pipeline.topology import (
    CLOUD_RETRIES,
    FUNCTIONS,
    LOST_LETTERS,
    LOST_LETTERS_SUBSCRIPTION,
    TOPICS,
    UPLOADS,
    WEBHOOK,
)
from defacer.webhook.delivery import SENT_EVENTS
from defacer_emulator.resources import Resources
from infra.capacity.worker_queue import SHARE_OF_WORKERS
from tests.terraform import INFRA, blocks, documents, local, one, resources

RESOURCES = Resources("some-project")
KNOWN = {PREFIX + name.upper() for name in Settings.model_fields} | {DIRECTORY_VARIABLE}
EVERY = (*FUNCTIONS, WEBHOOK)


def evaluate(text: str) -> str:
    """Return a name of names.tf for the project `some-project`."""
    bucket = re.fullmatch(r"\$\{local\.buckets\.(\w+)\}", text)
    return evaluate(local("buckets")[bucket[1]]) if bucket else text.replace("${var.project}", "some-project")


def template() -> Any:
    return one(resources("google_cloud_run_v2_service")["function"]["template"])


def container() -> Any:
    return one(template()["containers"])


def test_topics_equal_the_topology() -> None:
    assert local("topics") == list(TOPICS)
    assert resources("google_pubsub_topic")["topic"]["for_each"] == "${toset(local.topics)}"
    assert set(resources("google_pubsub_topic")) == {"topic"}


def test_functions_and_subscriptions_equal_the_topology() -> None:
    assert {name.replace("-", "_"): body for name, body in local("every_function").items()} == {
        function.name: {
            "topic": function.topic,
            "ack_deadline_seconds": function.ack_deadline_seconds,
            "concurrency": function.concurrency,
            "max_delivery_attempts": function.max_delivery_attempts,
            "dead_letter_topic": function.dead_letter_topic,
        }
        for function in EVERY
    }
    assert list(local("every_function")) == [function.subscription for function in EVERY]


def test_push_subscription_uses_the_values_of_its_function() -> None:
    push = resources("google_pubsub_subscription")["push"]

    assert push["for_each"] == "${local.functions}"
    assert push["name"] == "${each.key}"
    assert push["topic"] == "${google_pubsub_topic.topic[each.value.topic].id}"
    assert push["filter"] == "${lookup(local.filters, each.key, null)}"
    assert push["ack_deadline_seconds"] == "${each.value.ack_deadline_seconds}"
    assert one(push["dead_letter_policy"]) == {
        "dead_letter_topic": "${google_pubsub_topic.topic[each.value.dead_letter_topic].id}",
        "max_delivery_attempts": "${each.value.max_delivery_attempts}",
    }
    assert one(push["retry_policy"]) == {
        "minimum_backoff": "${local.retries.minimum_seconds}s",
        "maximum_backoff": "${local.retries.maximum_seconds}s",
    }


def test_clock_sends_the_message_that_ends_waits() -> None:
    clock = resources("google_cloud_scheduler_job")["review_clock"]

    assert local("review_clock")["topic"] == UPLOADS
    assert local("review_clock")["type"] == REVIEW_CHECK
    assert one(clock["pubsub_target"]) == {
        "topic_name": "${google_pubsub_topic.topic[local.review_clock.topic].id}",
        "data": '${base64encode("{}")}',
        "attributes": {"type": "${local.review_clock.type}"},
    }
    assert clock["schedule"] == "${local.review_clock.schedule}"
    minutes = re.fullmatch(r"\*/(\d+) \* \* \* \*", local("review_clock")["schedule"])
    assert minutes
    assert timedelta(minutes=int(minutes[1])) > GRACE


def test_retry_policy_equals_the_topology() -> None:
    assert local("retries") == {
        "minimum_seconds": CLOUD_RETRIES.minimum_seconds,
        "maximum_seconds": CLOUD_RETRIES.maximum_seconds,
    }


def test_lost_letters_are_kept_on_a_pull_subscription() -> None:
    keeper = resources("google_pubsub_subscription")["keeper"]

    assert local("keeper") == {"name": LOST_LETTERS_SUBSCRIPTION, "topic": LOST_LETTERS}
    assert keeper["name"] == "${local.keeper.name}"
    assert keeper["topic"] == "${google_pubsub_topic.topic[local.keeper.topic].id}"
    assert "push_config" not in keeper
    assert set(resources("google_pubsub_subscription")) == {"push", "keeper"}


def test_webhook_exists_only_if_configured_and_uses_a_secret() -> None:
    assert local("optional")["webhook"] == "${var.webhook != null}"
    assert local("functions").startswith("${{for name, function in local.every_function")
    assert set(local("values")["webhook"]) == {"DEFACER_WEBHOOK_URL"} <= KNOWN
    assert set(local("secrets")["webhook"]) == {"DEFACER_WEBHOOK_SECRET"} <= KNOWN
    assert local("filters") == {
        "webhook": " OR ".join(f'attributes.{TYPE} = "{kind}"' for kind in sorted(SENT_EVENTS))
    }


def test_buckets_equal_those_of_the_emulator() -> None:
    assert tuple(map(evaluate, local("buckets").values())) == RESOURCES.buckets
    names = {name: body["name"] for name, body in resources("google_storage_bucket").items()}
    assert names.pop("builds") == "${var.project}-builds"
    assert names == {name: f"${{local.buckets.{name}}}" for name in ("intake", "work", "output")}


def test_uploads_are_published_on_the_topic_of_ingest() -> None:
    (notification,) = resources("google_storage_notification").values()

    assert notification["topic"] == f'${{google_pubsub_topic.topic["{UPLOADS}"].id}}'
    assert notification["bucket"] == "${google_storage_bucket.intake.name}"
    assert "channels/street/videos/walk.mp4".startswith(notification["object_name_prefix"])


def test_functions_have_the_environment_of_the_emulator() -> None:
    written = dict(local("environment"))
    # The share of a channel depends on the workers. The capacity model has the same number.
    share = written.pop("DEFACER_CHANNEL_SEGMENTS")
    assert share == f"${{tostring({SHARE_OF_WORKERS} * local.worker_instances)}}"
    environment = {name: evaluate(value) for name, value in written.items()}
    assert environment == {
        name: value.replace("${var.project}", "some-project")
        for name, value in RESOURCES.environment().items()
    }
    env = next(dynamic["env"] for dynamic in container()["dynamic"] if "env" in dynamic)
    assert env["for_each"].startswith("${merge(local.environment,")
    assert one(env["content"]) == {"name": "${env.key}", "value": "${env.value}"}


def test_limits_default_to_those_of_the_settings() -> None:
    default = {
        name: re.search(rf"{name} *= optional\(number, (\d+)\)", (INFRA / "variables.tf").read_text())
        for name in ("channel_minutes", "channel_jobs", "video_megapixels")
    }
    for name, found in default.items():
        assert found is not None
        assert float(found[1]) == Settings.model_fields[f"max_{name}"].default
        assert local("values")["ingest"][f"DEFACER_MAX_{name.upper()}"] == f"${{tostring(var.limits.{name})}}"


def test_every_variable_in_the_files_is_a_setting() -> None:
    text = "".join((INFRA / name).read_text() for name in (*documents(), "Dockerfile"))
    named = set(re.findall(r"^[^#\n]*?\b(DEFACER_[A-Z_]+) *=", text, re.MULTILINE))

    assert {"DEFACER_PROJECT", "DEFACER_PRELOAD_MODELS", "DEFACER_WEIGHTS_DIR"} <= named
    assert named <= KNOWN


def test_instance_concurrency_equals_the_topology() -> None:
    assert template()["max_instance_request_concurrency"] == "${local.functions[each.key].concurrency}"
    assert set(local("every_size")) == {function.subscription for function in EVERY}


def test_timeouts_are_ordered_worker_cloud_run_pubsub() -> None:
    deadline = Settings.from_environment(RESOURCES.environment()).deadline_seconds
    expression = re.fullmatch(
        r"\$\{local\.functions\[each\.key\]\.ack_deadline_seconds - (\d+)\}s", template()["timeout"]
    )
    assert expression
    assert int(expression[1]) >= 5
    worker = next(function for function in FUNCTIONS if function.name == "worker")
    assert worker.ack_deadline_seconds - int(expression[1]) > deadline


def test_service_runs_the_function_of_its_name() -> None:
    """The service `dead-letter` runs the function `dead_letter`."""
    assert """defacer.serve:application('${replace(each.key, "-", "_")}')""" in container()["args"]


def test_every_variable_has_a_description() -> None:
    assert all(body.get("description") for _, body in blocks("variable"))
