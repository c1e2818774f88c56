"""The effect of infra/'s variables, applied by Terraform with the stub provider (conftest.py)."""

import json
import re

import pytest

from defacer_emulator.resources import Resources
from tests.console.permissions import console_grants
from tests.infra.applying import KEY, REGION, TAG, Project
from tests.infra.stub_provider import NUMBER, PROJECT
from tests.permissions import Grant, read_grants

RESOURCES = Resources(PROJECT)
PAGES = {"console", "live"}


def test_worker_has_a_gpu_or_is_billed_by_request(
    project: Project,
) -> None:
    (body,) = (body for body in project.resources("cloud_run_v2_service") if body["name"] == "worker")
    (template,) = body["template"]
    (container,) = template["containers"]
    (resources,) = container["resources"]
    values = {variable["name"]: variable["value"] for variable in container["env"]}
    (scaling,) = template["scaling"]
    assert (template["max_instance_request_concurrency"], scaling["min_instance_count"]) == (1, 0)
    if project.variables:  # worker=gpu
        assert resources["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
        assert (resources["cpu_idle"], scaling["max_instance_count"]) == (False, 3)
        assert [selector["accelerator"] for selector in template["node_selector"]] == ["nvidia-l4"]
        assert template["gpu_zonal_redundancy_disabled"] is True
        assert (values["DEFACER_REQUIRE_GPU"], values["DEFACER_PRELOAD_MODELS"]) == ("true", "true")
    else:
        assert resources["limits"] == {"cpu": "2", "memory": "4Gi"}
        assert (resources["cpu_idle"], template["node_selector"], scaling["max_instance_count"]) == (
            True,
            [],
            10,
        )
        assert (values["DEFACER_REQUIRE_GPU"], values["DEFACER_PRELOAD_MODELS"]) == ("false", "true")
    stage = "gpu" if project.variables else "cpu"
    assert container["image"] == f"{REGION}-docker.pkg.dev/{PROJECT}/defacer/{stage}:{TAG}"


def test_alerts_and_budget_are_created(project: Project) -> None:
    limits = {
        body["display_name"]: float(condition["threshold_value"])
        for body in project.resources("monitoring_alert_policy")
        for (condition,) in (item["condition_threshold"] for item in body["conditions"])
    }
    assert limits == {
        "De-facer: a message exhausted its deliveries": 0,
        "De-facer: a dead letter was lost": 0,
        "De-facer: a message waits for more than 15 minutes": 900,
        "De-facer: more than a tenth of the jobs fail": 0.1,
    }
    recipients = [body["labels"] for body in project.resources("monitoring_notification_channel")]
    assert recipients == ([{"email_address": "me@example.com"}] if project.variables else [])
    budgets = project.resources("billing_budget")
    assert len(budgets) == len(recipients)
    for budget in budgets:
        assert [float(rule["threshold_percent"]) for rule in budget["threshold_rules"]] == [0.5, 0.9, 1, 1]
    (dashboard,) = project.resources("monitoring_dashboard")
    assert json.loads(dashboard["dashboard_json"])["displayName"] == "De-facer"


def test_pages_open_for_members_and_uploads_come_from_origins(
    project: Project,
) -> None:
    members = {
        (body["cloud_run_service_name"], body["member"])
        for body in project.resources("iap_web_cloud_run_service_iam_member")
    }
    (intake,) = (body for body in project.resources("storage_bucket") if body["name"] == RESOURCES.intake)
    if not project.variables:
        assert (members, intake["cors"]) == (set(), [])
        return
    owners = {("console", "user:olga@example.com"), ("console", "domain:side.example")}
    assert members == {(name, "user:ada@example.com") for name in PAGES} | owners
    (cors,) = intake["cors"]
    assert cors["origin"] == [
        "https://console.example.com",
        f"https://console-{NUMBER}.{REGION}.run.app",
    ]


def test_viewers_of_the_project_have_no_role_on_a_bucket(project: Project) -> None:
    removed = {
        (body["bucket"], body["role"]): body["members"]
        for body in project.resources("storage_bucket_iam_binding")
    }
    roles = ("roles/storage.legacyBucketReader", "roles/storage.legacyObjectReader")
    assert removed == {(bucket, role): [] for bucket in RESOURCES.buckets for role in roles}


def test_old_videos_of_any_name_are_deleted_in_the_named_channels(project: Project) -> None:
    (intake,) = (body for body in project.resources("storage_bucket") if body["name"] == RESOURCES.intake)
    every = [condition for rule in intake["lifecycle_rule"] for condition in rule["condition"]]
    conditions = [condition for condition in every if condition["age"] == 30]
    prefixes = [condition["matches_prefix"] for condition in conditions if condition["matches_prefix"]]
    folders = ["channels/street/videos/", "channels/streetside/videos/"]
    assert prefixes == ([folders] if project.variables else [])
    assert all(condition["matches_prefix"] or condition["matches_suffix"] for condition in conditions)


def test_access_of_people_is_recorded_on_request(project: Project) -> None:
    found = project.resources("project_iam_audit_config")
    assert len(found) == (1 if project.variables else 0)
    for body in found:
        assert body["service"] == "storage.googleapis.com"
        assert {log["log_type"] for log in body["audit_log_config"]} == {"DATA_READ", "DATA_WRITE"}
        exempted = {member for log in body["audit_log_config"] for member in log["exempted_members"]}
        assert f"serviceAccount:defacer-worker@{PROJECT}.iam.gserviceaccount.com" in exempted
        assert f"serviceAccount:defacer-console@{PROJECT}.iam.gserviceaccount.com" not in exempted


def test_console_reads_only_documents_in_the_work_bucket(
    project: Project,
) -> None:
    if not project.variables:
        return
    custom_roles = {
        f"projects/{PROJECT}/roles/{body['role_id']}" for body in project.resources("project_iam_custom_role")
    }
    member = f"serviceAccount:defacer-console@{PROJECT}.iam.gserviceaccount.com"
    grants = [body for body in project.resources("storage_bucket_iam_member") if body["member"] == member]
    twice = (RESOURCES.work, RESOURCES.output)  # one grant reads, and the other one erases
    assert sorted(body["bucket"] for body in grants) == sorted([*RESOURCES.buckets, *twice, RESOURCES.work])
    for body in grants:
        assert body["role"] in {*custom_roles, "roles/storage.objectViewer"}
        if body["bucket"] == RESOURCES.work and body["role"] not in custom_roles:
            (condition,) = body["condition"]
            assert condition["expression"] in {
                'resource.name.endsWith(".json")',
                'resource.name.endsWith("/faces.jsonl")',
            }


def test_console_tests_have_the_grants_of_its_account(project: Project) -> None:
    """The tests in tests/console run with `console_grants` only."""
    if not project.variables:
        return
    member = f"serviceAccount:defacer-console@{PROJECT}.iam.gserviceaccount.com"
    buckets = dict(zip(("intake", "work", "output"), RESOURCES.buckets, strict=True))

    def describe(grants: list[Grant]) -> set[tuple[str, frozenset[str], str]]:
        return {(grant.resource, grant.permissions, grant.condition) for grant in grants}

    created = [
        grant
        for grant in read_grants(project.provider.resources)
        if grant.member == member and grant.resource.startswith("projects/_/buckets/")
    ]
    assert describe(created) == describe(console_grants(buckets))


def test_customer_managed_key_encrypts_all_stored_data(
    project: Project,
) -> None:
    key = KEY if project.variables else None
    for body in project.resources("storage_bucket"):
        assert [item["default_kms_key_name"] for item in body["encryption"]] == ([key] if key else [])
    for body in (*project.resources("pubsub_topic"), *project.resources("artifact_registry_repository")):
        assert body["kms_key_name"] == key

    grants = project.resources("kms_crypto_key_iam_member")
    assert {(body["crypto_key_id"], body["role"]) for body in grants} == (
        {(key, "roles/cloudkms.cryptoKeyEncrypterDecrypter")} if key else set()
    )
    agents = ("gs-project-accounts", "gcp-sa-pubsub", "gcp-sa-artifactregistry")
    assert {body["member"] for body in grants} == (
        {f"serviceAccount:service-{NUMBER}@{agent}.iam.gserviceaccount.com" for agent in agents}
        if key
        else set()
    )
    project.require_terraform()
    order = project.provider.order
    first = min(
        order.index(f"google_{kind}")
        for kind in ("storage_bucket", "pubsub_topic", "artifact_registry_repository")
    )
    assert order[:first].count("google_kms_crypto_key_iam_member") == len(grants)


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        (
            "kms_key_name=projects/p/locations/us-east4/keyRings/r/cryptoKeys/k",
            "with the region of the deployment",
        ),
        ("kms_key_name=k", "kms_key_name must be projects/P/locations/REGION/keyRings/R/cryptoKeys/K"),
        ('console={administrators=["allUsers"]}', "Each of console.administrators must be user:"),
        ('console={administrators=["group:g@x"]}', "The console learns no groups of a user"),
        ('channels={a={owners=["group:crew@example.com"]}}', "The console learns no groups of a user"),
        ('channels={a={owners=["user:ada"]}}', "Each of owners must be user:"),
        ('console={administrators=["domain:"]}', "Each of console.administrators must be user:"),
        ("limits={channel_jobs=1.5}", "The limits must be whole numbers of at least 1"),
        ('channels={a={uploaders=["allUsers"]}}', "A channel cannot be public"),
        ('channels={a={viewers=["allAuthenticatedUsers"]}}', "A channel cannot be public"),
        ('channels={a={uploaders=["user:ada"]}}', "Each of uploaders and viewers must be user:"),
        ('channels={"a/b"={viewers=["user:v@example.com"]}}', "A channel's name must have 1 to 200"),
        ('channels={".."={viewers=["user:v@example.com"]}}', "A channel's name must have 1 to 200"),
        ('channels={a={owner=["user:v@example.com"]}}', "Each channel needs a member"),
        ('console={origins=["https://console.example.com/"]}', "Each of console.origins must be https://"),
        ('live={origins=["http://live.example.com"]}', "Each of live.origins must be https://"),
        ('live={members=["allAuthenticatedUsers"]}', "Each of live.members must be user:"),
        ('live={members=["user:ada"]}', "Each of live.members must be user:"),
        ("limits={channel_jobs=100001}", "limits.channel_jobs must be 100,000 or less"),
        ("limits={channel_minutes=10000001}", "limits.channel_minutes 10,000,000 or less"),
        (
            'live={members=["user:a@example.com"],max_instances=0}',
            "live.max_instances must be a whole number",
        ),
        ("worker_max_instances=0", "worker_max_instances must be a whole number from 1 to 1000"),
        ("keep_sources_days=0", "keep_sources_days must be a whole number of at least 1"),
        ("keep_replaced_results_days=-1", "keep_replaced_results_days must be a whole number of at least 0"),
        ("monthly_budget=99.5", "monthly_budget must be a whole number of at least 1"),
        ("keep_work_days=30", "keep_work_days must be 56 or more"),
        ("worker=tpu", 'worker must be "cpu" or "gpu"'),
    ],
)
def test_invalid_variable_is_rejected_with_a_message(project: Project, variable: str, sentence: str) -> None:
    done = project.terraform(
        "plan", "-input=false", "-no-color", "-refresh=false", *project.variable_options, f"-var={variable}"
    )
    assert done.returncode == 1
    assert sentence in " ".join(done.stderr.replace("│", " ").split())


def test_only_urls_with_the_id_of_a_stream_are_not_logged(project: Project) -> None:
    exclusions = project.resources("logging_project_exclusion")
    assert len(exclusions) == (1 if project.variables else 0)
    for body in exclusions:
        service, pattern = re.findall(
            r'service_name="(\w+)" AND httpRequest.requestUrl=~"(.*?)"', body["filter"]
        )[0]
        assert service == "live"
        urls = [f"https://live.example/{path}" for path in ("", "watch", "end", "sockets/watch", "mjpeg/id")]
        assert [url for url in urls if re.search(pattern, url)] == ["https://live.example/mjpeg/id"]
