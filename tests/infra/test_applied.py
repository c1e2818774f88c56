"""The resources that Terraform creates equal those of the emulator. The provider is a stub (stub_provider.py)."""

from defacer.pipeline.settings import Settings
from defacer.pipeline.topology import FUNCTIONS, LOST_LETTERS_SUBSCRIPTION, TOPICS, WEBHOOK
from defacer_emulator.resources import Resources
from tests.infra.applying import REGION, Project
from tests.infra.stub_provider import NUMBER, PROJECT

RESOURCES = Resources(PROJECT)
PAGES = {"console", "live"}


def test_second_apply_changes_nothing(project: Project) -> None:
    assert project.plan_changes() == ""


def test_topics_and_subscriptions_equal_those_of_the_emulator(project: Project) -> None:
    functions = FUNCTIONS if not project.variables else (*FUNCTIONS, WEBHOOK)
    assert sorted(body["name"] for body in project.resources("pubsub_topic")) == sorted(TOPICS)

    def topic(name: str) -> str:
        return f"projects/{PROJECT}/topics/{name}"

    created = {body["name"]: body for body in project.resources("pubsub_subscription")}
    assert set(created) == {LOST_LETTERS_SUBSCRIPTION, *(function.subscription for function in functions)}
    for function in functions:
        body = created[function.subscription]
        assert body["topic"] == topic(function.topic)
        assert body["ack_deadline_seconds"] == function.ack_deadline_seconds
        assert body["retry_policy"] == [{"minimum_backoff": "10s", "maximum_backoff": "600s"}]
        assert body["dead_letter_policy"] == [
            {
                "dead_letter_topic": topic(function.dead_letter_topic),
                "max_delivery_attempts": function.max_delivery_attempts,
            }
        ]
        (push,) = body["push_config"]
        assert push["push_endpoint"] == f"https://{function.subscription}.example/"
    assert created[LOST_LETTERS_SUBSCRIPTION]["push_config"] == []


def test_services_have_the_emulator_s_environment_and_valid_settings(
    project: Project,
) -> None:
    functions = FUNCTIONS if not project.variables else (*FUNCTIONS, WEBHOOK)
    services = {body["name"]: body for body in project.resources("cloud_run_v2_service")}
    pages = {name: services.pop(name) for name in PAGES if name in services}
    assert set(pages) == (PAGES if project.variables else set())
    for name, body in pages.items():
        ((container,),) = (template["containers"] for template in body["template"])
        values = {variable["name"]: variable["value"] for variable in container["env"]}
        assert RESOURCES.environment().items() <= values.items()
        parsed = Settings.from_environment(values)
        assert container["command"] == ["python", "-m", f"defacer.web.{name}"]
        if name == "live":
            assert parsed.live_hosts == "cameras.example.com"
            assert f"https://live-{NUMBER}.{REGION}.run.app" in parsed.live_origins.split(",")
        else:
            assert parsed.console_signer == f"defacer-console@{PROJECT}.iam.gserviceaccount.com"
            assert parsed.console_origins.startswith("https://console.example.com,https://console-")
        assert parsed.iap_audience == f"/projects/{NUMBER}/locations/{REGION}/services/{name}"
        assert parsed.administrators == {"user:ada@example.com"}
        assert parsed.channel_owners == {
            "street": {"user:olga@example.com"},
            "streetside": {"domain:side.example"},
        }
    assert set(services) == {function.subscription for function in functions}
    for function in functions:
        (template,) = services[function.subscription]["template"]
        (container,) = template["containers"]
        values = {variable["name"]: variable["value"] or "s" * 32 for variable in container["env"]}
        assert RESOURCES.environment().items() <= values.items()
        Settings.from_environment(values)
        assert f"defacer.serve:application('{function.name}')" in container["args"]
        assert template["max_instance_request_concurrency"] == function.concurrency
        assert (
            template["service_account"]
            == f"defacer-{function.subscription}@{PROJECT}.iam.gserviceaccount.com"
        )


def test_buckets_equal_those_of_the_emulator_plus_builds(project: Project) -> None:
    assert {body["name"] for body in project.resources("storage_bucket")} == {
        *RESOURCES.buckets,
        f"{PROJECT}-builds",
    }


def test_pubsub_agent_can_move_dead_letters(
    project: Project,
) -> None:
    agent = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
    pushed = [body for body in project.resources("pubsub_subscription") if body["push_config"]]
    subscribed = {
        body["subscription"]
        for body in project.resources("pubsub_subscription_iam_member")
        if body["member"] == agent
    }
    published = {
        body["topic"] for body in project.resources("pubsub_topic_iam_member") if body["member"] == agent
    }
    assert subscribed == {body["name"] for body in pushed}
    assert published == {body["dead_letter_policy"][0]["dead_letter_topic"] for body in pushed}
