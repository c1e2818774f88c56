"""What Terraform itself makes of infra/, applied with a stand-in for the provider: is it what the emulator makes?"""

from defacer.pipeline.settings import Settings
from defacer.pipeline.topology import FUNCTIONS, LOST_LETTERS_SUBSCRIPTION, TOPICS, WEBHOOK
from defacer_emulator.resources import Resources
from tests.infra.applying import Project
from tests.infra.stand_in_provider import NUMBER, PROJECT

RESOURCES = Resources(PROJECT)
PAGES = {"console", "live"}


def test_an_empty_project_gets_all_of_it_and_a_second_run_changes_nothing(project: Project) -> None:
    assert project.changes() == ""


def test_it_makes_the_topics_and_subscriptions_that_the_emulator_makes(project: Project) -> None:
    told = FUNCTIONS if not project.variables else (*FUNCTIONS, WEBHOOK)
    assert sorted(body["name"] for body in project.made("pubsub_topic")) == sorted(TOPICS)

    def topic(name: str) -> str:
        return f"projects/{PROJECT}/topics/{name}"

    made = {body["name"]: body for body in project.made("pubsub_subscription")}
    assert set(made) == {LOST_LETTERS_SUBSCRIPTION, *(function.subscription for function in told)}
    for function in told:
        body = made[function.subscription]
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
    assert made[LOST_LETTERS_SUBSCRIPTION]["push_config"] == []


def test_each_function_runs_with_the_emulator_s_environment_and_with_settings_that_it_takes(
    project: Project,
) -> None:
    told = FUNCTIONS if not project.variables else (*FUNCTIONS, WEBHOOK)
    services = {body["name"]: body for body in project.made("cloud_run_v2_service")}
    pages = {name: services.pop(name) for name in PAGES if name in services}
    assert set(pages) == (PAGES if project.variables else set())
    for name, body in pages.items():
        ((container,),) = (template["containers"] for template in body["template"])
        values = {variable["name"]: variable["value"] for variable in container["env"]}
        assert RESOURCES.environment().items() <= values.items()
        found = Settings.from_environment(values)
        assert container["command"] == ["python", "-m", f"defacer.web.{name}"]
        if name == "live":
            assert found.live_hosts == "cameras.example.com"
        else:
            assert found.console_signer == f"defacer-console@{PROJECT}.iam.gserviceaccount.com"
            assert found.console_iap_audience is None
    assert set(services) == {function.subscription for function in told}
    for function in told:
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


def test_its_buckets_are_the_emulator_s_and_one_for_builds(project: Project) -> None:
    assert {body["name"] for body in project.made("storage_bucket")} == {
        *RESOURCES.buckets,
        f"{PROJECT}-builds",
    }


def test_pubsub_may_take_what_gives_up_off_every_subscription_and_put_it_on_every_topic_for_it(
    project: Project,
) -> None:
    agent = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
    pushed = [body for body in project.made("pubsub_subscription") if body["push_config"]]
    taken = {
        body["subscription"]
        for body in project.made("pubsub_subscription_iam_member")
        if body["member"] == agent
    }
    put = {body["topic"] for body in project.made("pubsub_topic_iam_member") if body["member"] == agent}
    assert taken == {body["name"] for body in pushed}
    assert put == {body["dead_letter_policy"][0]["dead_letter_topic"] for body in pushed}
