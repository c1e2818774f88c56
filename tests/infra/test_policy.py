"""Rules for all present and future resources in infra/*.tf."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from defacer.pipeline.lifecycle import rerender_request
from defacer.pipeline.settings import Settings
from defacer.pipeline.topology import FUNCTIONS, MAX_TASK_REQUEUES, Function
from tests.modules import modules_of_functions
from tests.terraform import INFRA, blocks, local, one, resources, strings

PRIMITIVE = {"roles/owner", "roles/editor", "roles/viewer"}
PUBLIC = {"allUsers", "allAuthenticatedUsers"}
# Objects of the work bucket without embeddings and pictures.
DOCUMENTS = {".json", "/faces.jsonl"}
# Roles that cannot be granted on a smaller resource.
ON_THE_PROJECT = {"roles/logging.logWriter"}
SECRET = re.compile(r"password|secret|private_key|token|api_?key", re.IGNORECASE)
# Long strings of letters and digits, as pasted keys are.
KEY = re.compile(r"\b(?=\w*\d)[A-Za-z0-9+/=_-]{32,}\b|BEGIN [A-Z ]*PRIVATE KEY")


def grants() -> list[tuple[str, str, str]]:
    """The address, role and member of each grant."""
    found = [
        (label, body["role"], body["member"])
        for label, body in blocks("resource")
        if "_iam_" in label and "member" in body
    ]
    assert len(found) > 5
    return found


def test_grants_add_members_and_replace_none() -> None:
    kinds = {label.split(".")[0] for label, _ in blocks("resource") if "_iam_" in label}
    removing = {"google_storage_bucket_iam_binding"}
    assert all(
        kind.endswith(("_iam_member", "_iam_custom_role", "_iam_audit_config")) for kind in kinds - removing
    )
    assert [body["members"] for body in resources("google_storage_bucket_iam_binding").values()] == [[]]


def test_no_resource_is_public() -> None:
    for kind in ("resource", "locals", "data"):
        for label, body in blocks(kind):
            assert not PUBLIC & set(strings(body)), label


def test_no_primitive_role_is_granted() -> None:
    named = {text for kind in ("resource", "locals") for _, body in blocks(kind) for text in strings(body)}
    assert not {text for text in named for role in PRIMITIVE if role in text}


def test_only_the_builder_has_a_role_on_the_project() -> None:
    project_grants = {
        (role, member) for label, role, member in grants() if label.startswith("google_project_iam_member")
    }
    assert project_grants == {(role, "${google_service_account.builder.member}") for role in ON_THE_PROJECT}


def test_every_bucket_prevents_public_access() -> None:
    for body in resources("google_storage_bucket").values():
        assert body["public_access_prevention"] == "enforced"
        assert body["uniform_bucket_level_access"] is True


@pytest.mark.parametrize("bucket", ["intake", "work", "output", "builds"])
def test_no_bucket_has_soft_delete(bucket: str) -> None:
    body = resources("google_storage_bucket")[bucket]
    assert one(body["soft_delete_policy"]) == {"retention_duration_seconds": 0}


def test_replaced_upload_is_kept_for_a_day_and_embeddings_are_not() -> None:
    buckets = resources("google_storage_bucket")
    assert one(buckets["intake"]["versioning"]) == {"enabled": True}
    conditions = [one(rule["condition"]) for rule in buckets["intake"]["lifecycle_rule"]]
    assert {"days_since_noncurrent_time": 1, "with_state": "ARCHIVED"} in conditions
    assert "versioning" not in buckets["work"]


def test_only_the_last_subscription_lacks_a_dead_letter_topic() -> None:
    without = {
        name: body
        for name, body in resources("google_pubsub_subscription").items()
        if "dead_letter_policy" not in body
    }
    assert set(without) == {"keeper"}
    assert "push_config" not in without["keeper"]


def test_no_subscription_expires() -> None:
    for body in resources("google_pubsub_subscription").values():
        assert one(body["expiration_policy"]) == {"ttl": ""}


def test_state_objects_outlive_every_message_of_their_job() -> None:
    """Each requeue adds the retention of the message's own subscription and of the dead-letter subscription."""
    push = resources("google_pubsub_subscription")["push"]
    retention = int(push["message_retention_duration"].removesuffix("s")) / (24 * 3600)
    assert "for_each" in push
    longest = (MAX_TASK_REQUEUES + 1) * 2 * retention
    variable = dict(blocks("variable"))["keep_work_days"]
    validation = one(variable["validation"])
    (minimum,) = re.findall(r"var\.keep_work_days >= (\d+)", validation["condition"])
    assert int(minimum) == longest
    assert validation["error_message"].startswith(f"keep_work_days must be {minimum} or more: ")
    assert variable["default"] >= int(minimum)
    assert rerender_request.PENDING.days == int(minimum)  # a re-render's end can be detected for as long
    assert f"`keep_work_days` is {minimum} at least" in (INFRA / "OPERATIONS.md").read_text()


def test_every_push_is_authenticated() -> None:
    push = one(resources("google_pubsub_subscription")["push"]["push_config"])
    assert one(push["oidc_token"])["service_account_email"] == "${google_service_account.pusher.email}"


def test_agents_can_publish_uploads_and_move_dead_letters() -> None:
    agent = "${local.pubsub_agent}"
    by_name = {label.split(".")[1]: (role, member) for label, role, member in grants()}
    assert by_name["dead_letter_publisher"] == ("roles/pubsub.publisher", agent)
    assert by_name["dead_letter_subscriber"] == ("roles/pubsub.subscriber", agent)
    assert by_name["storage_publishes"] == ("roles/pubsub.publisher", "${local.storage_agent}")


def test_services_have_own_accounts_and_internal_ingress() -> None:
    assert resources("google_service_account")["function"]["for_each"] == "${local.functions}"
    accounts = {
        name: one(body["template"])["service_account"]
        for name, body in resources("google_cloud_run_v2_service").items()
    }
    assert accounts == {
        "function": "${google_service_account.function[each.key].email}",
        "page": "${google_service_account.page[each.key].email}",
    }
    for name, body in resources("google_cloud_run_v2_service").items():
        ingress = "INGRESS_TRAFFIC_ALL" if name == "page" else "INGRESS_TRAFFIC_INTERNAL_ONLY"
        assert body["ingress"] == ingress


def test_only_the_pusher_calls_a_function_and_only_iap_a_page() -> None:
    invokers = {
        label.rpartition(".")[2]: member for label, role, member in grants() if role == "roles/run.invoker"
    }
    assert invokers == {
        "function_invoker": "${google_service_account.pusher.member}",
        "page_invoker": "${local.iap_agent}",
    }


@pytest.mark.parametrize("page", ["console", "live"])
def test_page_exists_only_for_named_members(page: str) -> None:
    variable = dict(blocks("variable"))[page]
    assert variable["default"] in (None, "null", "${null}")
    assert local("optional")[page] == f"${{var.{page} != null}}"
    members = {
        "console": "${distinct(concat(try(var.console.administrators, []), local.owners))}",
        "live": "${try(var.live.members, [])}",
    }
    assert local("every_page")[page]["members"] == members[page]
    accessor = resources("google_iap_web_cloud_run_service_iam_member")["page"]
    assert accessor["for_each"] == "${local.page_members}"
    assert accessor["member"] == "${each.value.member}"
    assert accessor["role"] == "roles/iap.httpsResourceAccessor"
    assert resources("google_cloud_run_v2_service")["page"]["iap_enabled"] is True
    for kind in ("google_cloud_run_v2_service", "google_service_account"):
        assert resources(kind)["page"]["for_each"] == "${local.pages}"


def test_live_page_has_session_affinity_and_a_long_timeout() -> None:
    page = one(resources("google_cloud_run_v2_service")["page"]["template"])
    assert page["session_affinity"] == "${each.value.affinity}"
    assert page["timeout"] == "${each.value.timeout}"
    assert local("every_page")["live"]["affinity"] is True
    assert local("every_page")["live"]["timeout"] == "3600s"


def test_every_service_has_startup_and_liveness_probes() -> None:
    for body in resources("google_cloud_run_v2_service").values():
        container = one(one(body["template"])["containers"])
        for probe in ("startup_probe", "liveness_probe"):
            assert one(one(container[probe])["http_get"]) == {"path": "/health"}


def test_live_page_can_only_read_the_intake_bucket() -> None:
    assert [(grant["bucket"], grant["role"]) for grant in local("page_roles")["live"].values()] == [
        ("intake", "roles/storage.objectViewer")
    ]


def test_console_cannot_read_embeddings_or_segments() -> None:
    """The tests in tests/console run with these permissions only."""
    custom_roles = local("page_permissions")
    for grant in local("page_roles")["console"].values():
        assert grant["role"] in (None, "roles/storage.objectViewer")
        reads = grant["role"] is not None or "storage.objects.get" in custom_roles[grant["ours"]]
        if grant["bucket"] == "work" and reads:
            assert grant["suffix"] in DOCUMENTS


@pytest.mark.parametrize("grant_name", ["console_announces", "commands_announce"])
def test_console_and_commands_announce_the_jobs_that_they_fail(grant_name: str) -> None:
    """They also call the next upload of the channel."""
    grant = resources("google_pubsub_topic_iam_member")[grant_name]
    assert 'toset(["job-events", "uploads"])' in grant["for_each"]
    assert grant["topic"] == "${google_pubsub_topic.topic[each.key].id}"
    assert grant["role"] == "roles/pubsub.publisher"


def test_console_signs_only_with_its_own_account() -> None:
    signs = resources("google_service_account_iam_member")["console_signs"]
    assert signs["service_account_id"] == "${google_service_account.page[each.key].name}"
    assert signs["member"] == "${google_service_account.page[each.key].member}"
    assert resources("google_project_iam_custom_role")["signer"]["permissions"] == [
        "iam.serviceAccounts.signBlob"
    ]


def test_idle_services_run_no_instance() -> None:
    for body in resources("google_cloud_run_v2_service").values():
        assert one(one(body["template"])["scaling"])["min_instance_count"] == 0


def test_functions_can_publish_to_the_topics_of_the_settings() -> None:
    assert set(local("publishes")) == set(local("bucket_roles")) == {f.subscription for f in FUNCTIONS}
    fields = Settings.model_fields
    topics = {
        str(fields[name].default)
        for name in ("uploads_topic", "segments_topic", "segments_done_topic", "job_events_topic")
    }
    assert {topic for names in local("publishes").values() for topic in names} == topics


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_only_functions_that_end_jobs_can_write_results(
    function: Function,
) -> None:
    ends_jobs = "defacer.pipeline.lifecycle.finalize" in modules_of_functions()[function.name]
    roles = local("bucket_roles")[function.subscription]

    reads_reports = function.name == "ingest"  # for re-renders
    role = (
        "roles/storage.objectUser" if ends_jobs else "roles/storage.objectViewer" if reads_reports else None
    )
    assert roles.get("output") == role
    assert (function.subscription in local("source_removers")) == ends_jobs
    assert roles["intake"] == "roles/storage.objectViewer"


def test_no_secret_is_in_the_files() -> None:
    for kind in ("resource", "locals"):
        for label, body in blocks(kind):
            for name, value in arguments(body):
                assert not SECRET.search(name) or value.startswith("${"), f"{label}: {name} = {value}"
                assert not KEY.search(re.sub(r"\$\{.*?\}", "", value)), f"{label}: {name} = {value}"
    for label, body in blocks("variable"):
        assert not SECRET.search(label) or body.get("sensitive") is True


def arguments(body: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of every string argument, at any depth."""
    for item in body if isinstance(body, list) else [body]:
        for name, value in item.items() if isinstance(item, dict) else ():
            if isinstance(value, str):
                yield name, value
            else:
                yield from arguments(value)


def test_old_images_are_deleted() -> None:
    body = resources("google_artifact_registry_repository")["images"]
    assert {policy["action"] for policy in body["cleanup_policies"]} == {"KEEP", "DELETE"}
    assert "docker_config" not in body


def test_budget_can_be_created_with_a_user_login() -> None:
    ((_, provider),) = blocks("provider")
    assert provider["user_project_override"] == "${var.billing_account != null}"
    assert provider["billing_project"] == "${var.project}"
