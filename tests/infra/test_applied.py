"""What Terraform itself makes of infra/, applied with a stand-in for the provider: is it what the emulator makes?"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from functions.pipeline.settings import Settings
from local_emulator.resources import CLOUD_RETRIES, FUNCTIONS, KEEPER, TOPICS, WEBHOOK, Resources
from tests.infra.stand_in_provider import NUMBER, PROJECT, StandIn
from tests.infra.test_terraform import TOOLS
from tests.terraform import INFRA

SCHEMA = TOOLS / "google_schema.json"
RESOURCES = Resources(PROJECT, CLOUD_RETRIES)
PAGES = {"console", "live"}
REGION = "europe-west4"
KEY = f"projects/p/locations/{REGION}/keyRings/r/cryptoKeys/k"
EVERYTHING = (
    'webhook={url="https://example.com/defacer",secret_name="some-name"}',
    'live={members=["user:ada@example.com"],hosts=["cameras.example.com"]}',
    "worker=cpu",
    "alert_email=me@example.com",
    "billing_account=000000-000000-000000",
    'console={members=["user:ada@example.com"],origins=["https://console.example.com"]}',
    "keep_sources_days=30",
    f"kms_key_name={KEY}",
)
pytestmark = pytest.mark.skipif(
    not shutil.which("terraform") or not SCHEMA.exists(),
    reason="needs terraform, and DEFACER_TOOLS to name the folder that has google_schema.json",
)


@dataclass
class Project:
    """An empty project in `folder`; `made` is what was applied to it, by type."""

    folder: Path
    provider: StandIn
    environment: dict[str, str]
    variables: tuple[str, ...]

    def terraform(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["terraform", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def apply(self, *options: str) -> None:
        done = self.terraform("apply", "-auto-approve", "-input=false", "-no-color", *self.given, *options)
        assert done.returncode == 0, done.stdout + done.stderr

    def changes(self) -> str:
        """What would still change."""
        done = self.terraform("plan", "-detailed-exitcode", "-input=false", "-no-color", *self.given)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    @property
    def given(self) -> list[str]:
        known = (f"project={PROJECT}", f"region={REGION}", "tag=0123456789ab")
        return [f"-var={variable}" for variable in (*known, *self.variables)]

    def made(self, kind: str) -> list[dict[str, Any]]:
        return self.provider.made.get(f"google_{kind}", [])


@pytest.fixture(scope="module", params=[(), EVERYTHING], ids=["plain", "everything"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder, provider = tmp_path_factory.mktemp("infra"), StandIn(SCHEMA)
    for path in (*INFRA.glob("*.tf"), *INFRA.glob("*.tftpl")):
        shutil.copy(path, folder)
    (folder / "state_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    with provider.serving() as found:
        made = Project(folder, provider, {**os.environ, **found, "CHECKPOINT_DISABLE": "1"}, request.param)
        done = made.terraform("init", "-input=false", "-no-color")
        assert done.returncode == 0, done.stdout + done.stderr
        targets = [f"-target={address}" for address in first_targets()]
        made.apply(*targets)
        assert made.made("cloud_run_v2_service") == []
        assert [body["repository_id"] for body in made.made("artifact_registry_repository")] == ["defacer"]
        made.apply()
        yield made


def first_targets() -> list[str]:
    """What infra/deploy.sh has made before it builds."""
    text = (INFRA / "deploy.sh").read_text()
    found = [word.removeprefix("-target=") for word in text.split() if word.startswith("-target=")]
    assert found
    return found


def test_an_empty_project_gets_all_of_it_and_a_second_run_changes_nothing(project: Project) -> None:
    assert project.changes() == ""


def test_it_makes_the_topics_and_subscriptions_that_the_emulator_makes(project: Project) -> None:
    told = FUNCTIONS if not project.variables else (*FUNCTIONS, WEBHOOK)
    assert sorted(body["name"] for body in project.made("pubsub_topic")) == sorted(TOPICS)

    def topic(name: str) -> str:
        return f"projects/{PROJECT}/topics/{name}"

    made = {body["name"]: body for body in project.made("pubsub_subscription")}
    assert set(made) == {KEEPER, *(function.subscription for function in told)}
    for function in told:
        body = made[function.subscription]
        assert body["topic"] == topic(function.topic)
        assert body["ack_deadline_seconds"] == function.acknowledge_seconds
        assert body["retry_policy"] == [{"minimum_backoff": "10s", "maximum_backoff": "600s"}]
        assert body["dead_letter_policy"] == [
            {
                "dead_letter_topic": topic(function.dead_letter_topic),
                "max_delivery_attempts": function.max_delivery_attempts,
            }
        ]
        (push,) = body["push_config"]
        assert push["push_endpoint"] == f"https://{function.subscription}.example/"
    assert made[KEEPER]["push_config"] == []


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
        assert container["command"] == ["python", "-m", f"functions.{name}"]
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
        assert f"functions.serve:application('{function.name}')" in container["args"]
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


def test_a_page_is_opened_by_those_that_are_named_and_uploads_come_from_its_own_addresses(
    project: Project,
) -> None:
    opened = {
        (body["name"], body["member"])
        for body in project.made("cloud_run_v2_service_iam_member")
        if body["name"] in PAGES
    }
    (intake,) = (body for body in project.made("storage_bucket") if body["name"] == RESOURCES.intake)
    if not project.variables:
        assert (opened, intake["cors"]) == (set(), [])
        return
    assert opened == {(name, "user:ada@example.com") for name in PAGES}
    (cors,) = intake["cors"]
    assert cors["origin"] == [
        "https://console.example.com",
        f"https://console-{NUMBER}.{REGION}.run.app",
        "http://localhost:8080",
    ]


def test_the_console_has_what_its_pages_need_in_three_buckets_and_of_work_the_documents(
    project: Project,
) -> None:
    if not project.variables:
        return
    ours = {f"projects/{PROJECT}/roles/{body['role_id']}" for body in project.made("project_iam_custom_role")}
    member = f"serviceAccount:defacer-console@{PROJECT}.iam.gserviceaccount.com"
    grants = [body for body in project.made("storage_bucket_iam_member") if body["member"] == member]
    assert sorted(body["bucket"] for body in grants) == sorted([*RESOURCES.buckets, RESOURCES.work])
    for body in grants:
        assert body["role"] in {*ours, "roles/storage.objectViewer"}
        if body["bucket"] == RESOURCES.work and body["role"] not in ours:
            (condition,) = body["condition"]
            assert condition["expression"] == 'resource.name.endsWith(".json")'


def test_with_a_key_of_one_s_own_all_that_is_kept_is_encrypted_with_it_by_agents_that_may_use_it(
    project: Project,
) -> None:
    key = KEY if project.variables else None
    for body in project.made("storage_bucket"):
        assert [item["default_kms_key_name"] for item in body["encryption"]] == ([key] if key else [])
    for body in (*project.made("pubsub_topic"), *project.made("artifact_registry_repository")):
        assert body["kms_key_name"] == key

    granted = project.made("kms_crypto_key_iam_member")
    assert {(body["crypto_key_id"], body["role"]) for body in granted} == (
        {(key, "roles/cloudkms.cryptoKeyEncrypterDecrypter")} if key else set()
    )
    agents = ("gs-project-accounts", "gcp-sa-pubsub", "gcp-sa-artifactregistry")
    assert {body["member"] for body in granted} == (
        {f"serviceAccount:service-{NUMBER}@{agent}.iam.gserviceaccount.com" for agent in agents}
        if key
        else set()
    )
    made = project.provider.order
    first = min(
        made.index(f"google_{kind}")
        for kind in ("storage_bucket", "pubsub_topic", "artifact_registry_repository")
    )
    assert made[:first].count("google_kms_crypto_key_iam_member") == len(granted)


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("kms_key_name=projects/p/locations/us-east4/keyRings/r/cryptoKeys/k", "with the region that"),
        ("kms_key_name=k", "kms_key_name must be projects/P/locations/REGION/keyRings/R/cryptoKeys/K"),
        ('console={members=["allUsers"]}', "console.members must each be user:"),
        ('console={origins=["https://console.example.com/"]}', "console.origins must each be https://"),
        ('live={members=["allAuthenticatedUsers"]}', "live.members must each be user:"),
        ("keep_work_days=30", "keep_work_days must be 56 or more"),
        ("worker=tpu", 'worker must be "gpu" or "cpu"'),
    ],
)
def test_a_setting_that_can_t_be_used_is_refused_with_a_sentence(
    project: Project, variable: str, sentence: str
) -> None:
    done = project.terraform(
        "plan", "-input=false", "-no-color", "-refresh=false", *project.given, f"-var={variable}"
    )
    assert done.returncode == 1
    assert sentence in " ".join(done.stderr.replace("│", " ").split())
