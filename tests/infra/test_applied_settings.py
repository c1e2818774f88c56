"""What its settings make of infra/, as Terraform applies it with a stand-in for the provider (conftest.py)."""

import json

import pytest

from defacer_emulator.resources import Resources
from tests.infra.applying import KEY, REGION, TAG, Project
from tests.infra.stand_in_provider import NUMBER, PROJECT

RESOURCES = Resources(PROJECT)
PAGES = {"console", "live"}


def test_the_worker_has_a_gpu_that_is_billed_while_it_is_there_or_none_and_is_billed_by_request(
    project: Project,
) -> None:
    (body,) = (body for body in project.made("cloud_run_v2_service") if body["name"] == "worker")
    (template,) = body["template"]
    (container,) = template["containers"]
    (resources,) = container["resources"]
    values = {variable["name"]: variable["value"] for variable in container["env"]}
    (scaling,) = template["scaling"]
    assert (template["max_instance_request_concurrency"], scaling["min_instance_count"]) == (1, 0)
    if project.variables:  # worker=cpu
        assert resources["limits"] == {"cpu": "2", "memory": "4Gi"}
        assert (resources["cpu_idle"], template["node_selector"], scaling["max_instance_count"]) == (
            True,
            [],
            10,
        )
        assert (values["DEFACER_REQUIRE_GPU"], values["DEFACER_PRELOAD_MODELS"]) == ("false", "true")
    else:
        assert resources["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
        assert (resources["cpu_idle"], scaling["max_instance_count"]) == (False, 3)
        assert [selector["accelerator"] for selector in template["node_selector"]] == ["nvidia-l4"]
        assert template["gpu_zonal_redundancy_disabled"] is True
        assert (values["DEFACER_REQUIRE_GPU"], values["DEFACER_PRELOAD_MODELS"]) == ("true", "true")
    stage = "cpu" if project.variables else "gpu"
    assert container["image"] == f"{REGION}-docker.pkg.dev/{PROJECT}/defacer/{stage}:{TAG}"


def test_an_operator_is_told_of_what_gave_up_waits_fails_and_costs(project: Project) -> None:
    limits = {
        body["display_name"]: float(condition["threshold_value"])
        for body in project.made("monitoring_alert_policy")
        for (condition,) in (item["condition_threshold"] for item in body["conditions"])
    }
    assert limits == {
        "De-facer: a message gave up": 0,
        "De-facer: a dead letter was lost": 0,
        "De-facer: a message waits for more than 15 minutes": 900,
        "De-facer: more than a tenth of the jobs fail": 0.1,
    }
    told = [body["labels"] for body in project.made("monitoring_notification_channel")]
    assert told == ([{"email_address": "me@example.com"}] if project.variables else [])
    budgets = project.made("billing_budget")
    assert len(budgets) == len(told)
    for budget in budgets:
        assert [float(rule["threshold_percent"]) for rule in budget["threshold_rules"]] == [0.5, 0.9, 1, 1]
    (dashboard,) = project.made("monitoring_dashboard")
    assert json.loads(dashboard["dashboard_json"])["displayName"] == "De-facer"


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
