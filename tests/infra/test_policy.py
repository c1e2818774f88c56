"""Rules that every resource in infra/*.tf keeps, whatever is added."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from defacer.dead_letter.handler import MAX_TASK_REQUEUES
from defacer.pipeline.lifecycle import rerender_request
from defacer.pipeline.settings import Settings
from defacer.pipeline.topology import FUNCTIONS, Function
from tests.modules import modules_after_importing
from tests.terraform import INFRA, blocks, local, one, resources, strings

PRIMITIVE = {"roles/owner", "roles/editor", "roles/viewer"}
PUBLIC = {"allUsers", "allAuthenticatedUsers"}
# There is no smaller thing to give it on.
ON_THE_PROJECT = {"roles/logging.logWriter"}
SECRET = re.compile(r"password|secret|private_key|token|api_?key", re.IGNORECASE)
# Long and without a word's shape: as keys look that somebody pasted.
KEY = re.compile(r"\b(?=\w*\d)[A-Za-z0-9+/=_-]{32,}\b|BEGIN [A-Z ]*PRIVATE KEY")


def grants() -> list[tuple[str, str, str]]:
    """The address, role and member of each grant."""
    found = [
        (label, body["role"], body["member"])
        for label, body in blocks("resource")
        if "_iam_" in label and "role" in body
    ]
    assert len(found) > 5
    return found


def test_every_grant_adds_a_member_and_takes_nothing_from_others() -> None:
    kinds = {label.split(".")[0] for label, _ in blocks("resource") if "_iam_" in label}
    assert all(kind.endswith(("_iam_member", "_iam_custom_role")) for kind in kinds)


def test_nobody_in_public_is_named_anywhere() -> None:
    for kind in ("resource", "locals", "data"):
        for label, body in blocks(kind):
            assert not PUBLIC & set(strings(body)), label


def test_no_role_is_a_primitive_one() -> None:
    named = {text for kind in ("resource", "locals") for _, body in blocks(kind) for text in strings(body)}
    assert not {text for text in named for role in PRIMITIVE if role in text}


def test_a_role_on_the_whole_project_is_the_builder_s_alone() -> None:
    given = {
        (role, member) for label, role, member in grants() if label.startswith("google_project_iam_member")
    }
    assert given == {(role, "${google_service_account.builder.member}") for role in ON_THE_PROJECT}


def test_every_bucket_is_closed_to_the_public() -> None:
    for body in resources("google_storage_bucket").values():
        assert body["public_access_prevention"] == "enforced"
        assert body["uniform_bucket_level_access"] is True


@pytest.mark.parametrize("bucket", ["intake", "work", "output", "builds"])
def test_no_bucket_keeps_what_is_deleted_without_being_asked_to(bucket: str) -> None:
    body = resources("google_storage_bucket")[bucket]
    assert one(body["soft_delete_policy"]) == {"retention_duration_seconds": 0}


def test_an_upload_outlives_its_successor_for_a_day_and_an_embedding_nothing() -> None:
    buckets = resources("google_storage_bucket")
    assert one(buckets["intake"]["versioning"]) == {"enabled": True}
    conditions = [one(rule["condition"]) for rule in buckets["intake"]["lifecycle_rule"]]
    assert {"days_since_noncurrent_time": 1, "with_state": "ARCHIVED"} in conditions
    assert "versioning" not in buckets["work"]


def test_every_subscription_has_a_dead_letter_topic_but_the_last_one_which_nothing_reads() -> None:
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


def test_a_message_is_kept_no_longer_than_the_marks_that_say_its_job_is_done() -> None:
    """However often it starts anew: each time it is kept by its subscription, and then by that of dead letters."""
    push = resources("google_pubsub_subscription")["push"]
    retention = int(push["message_retention_duration"].removesuffix("s")) / (24 * 3600)
    assert "for_each" in push
    longest = (MAX_TASK_REQUEUES + 1) * 2 * retention
    variable = dict(blocks("variable"))["keep_work_days"]
    validation = one(variable["validation"])
    (least,) = re.findall(r"var\.keep_work_days >= (\d+)", validation["condition"])
    assert int(least) == longest
    assert validation["error_message"].startswith(f"keep_work_days must be {least} or more: ")
    assert variable["default"] >= int(least)
    assert rerender_request.PENDING.days == int(least)  # so long it can be told whether a rendering is over
    assert f"`keep_work_days` is {least} at least" in (INFRA / "README.md").read_text()


def test_every_push_says_who_it_is() -> None:
    push = one(resources("google_pubsub_subscription")["push"]["push_config"])
    assert one(push["oidc_token"])["service_account_email"] == "${google_service_account.pusher.email}"


def test_pubsub_may_do_what_dead_letters_need() -> None:
    agent = "${local.pubsub_agent}"
    given = {label.split(".")[1]: (role, member) for label, role, member in grants()}
    assert given["letters_go_on"] == ("roles/pubsub.publisher", agent)
    assert given["letters_leave"] == ("roles/pubsub.subscriber", agent)
    assert given["storage_publishes"] == ("roles/pubsub.publisher", "${local.storage_agent}")


def test_every_service_has_its_own_account_and_is_reached_from_inside_alone() -> None:
    assert resources("google_service_account")["function"]["for_each"] == "${local.functions}"
    accounts = {
        name: one(body["template"])["service_account"]
        for name, body in resources("google_cloud_run_v2_service").items()
    }
    assert accounts == {
        "function": "${google_service_account.function[each.key].email}",
        "worker": '${google_service_account.function["worker"].email}',
        "page": "${google_service_account.page[each.key].email}",
    }
    for name, body in resources("google_cloud_run_v2_service").items():
        reached = "INGRESS_TRAFFIC_ALL" if name == "page" else "INGRESS_TRAFFIC_INTERNAL_ONLY"
        assert body["ingress"] == reached


def test_only_the_pusher_calls_a_function() -> None:
    invokers = {
        member
        for label, role, member in grants()
        if role == "roles/run.invoker" and not label.endswith("page_opened_by")
    }
    assert invokers == {"${google_service_account.pusher.member}"}


@pytest.mark.parametrize("page", ["console", "live"])
def test_nobody_opens_a_page_but_those_that_are_named_and_by_default_there_is_none(page: str) -> None:
    variable = dict(blocks("variable"))[page]
    assert variable["default"] in (None, "null", "${null}")
    assert local("optional")[page] == f"${{var.{page} != null}}"
    assert local("every_page")[page]["members"] == f"${{try(var.{page}.members, [])}}"
    opened = resources("google_cloud_run_v2_service_iam_member")["page_opened_by"]
    assert opened["for_each"] == "${local.page_members}"
    assert opened["member"] == "${each.value.member}"
    for kind in ("google_cloud_run_v2_service", "google_service_account"):
        assert resources(kind)["page"]["for_each"] == "${local.pages}"


def test_who_watches_a_stream_comes_to_the_instance_that_has_it() -> None:
    page = one(resources("google_cloud_run_v2_service")["page"]["template"])
    assert page["session_affinity"] == "${each.value.affinity}"
    assert page["timeout"] == "${each.value.timeout}"
    assert local("every_page")["live"]["affinity"] is True
    assert local("every_page")["live"]["timeout"] == "3600s"


def test_every_service_says_when_it_is_ready_and_whether_it_still_lives() -> None:
    for body in resources("google_cloud_run_v2_service").values():
        container = one(one(body["template"])["containers"])
        for probe in ("startup_probe", "liveness_probe"):
            assert one(one(container[probe])["http_get"]) == {"path": "/health"}


def test_the_live_page_reads_the_intake_and_nothing_else() -> None:
    assert [(grant["bucket"], grant["role"]) for grant in local("page_roles")["live"].values()] == [
        ("intake", "roles/storage.objectViewer")
    ]


def test_the_console_reads_no_embedding_changes_no_result_and_signs_as_nobody_but_itself() -> None:
    """What it needs of this is found out by tests/console, which are refused all else."""
    ours = local("page_permissions")
    for grant in local("page_roles")["console"].values():
        if grant["bucket"] == "work":
            assert ours.get(grant["ours"]) == ["storage.objects.list"] or grant["suffix"] == ".json"
        if grant["bucket"] != "intake":
            assert grant["role"] in (None, "roles/storage.objectViewer")
    signs = resources("google_service_account_iam_member")["console_signs"]
    assert signs["service_account_id"] == "${google_service_account.page[each.key].name}"
    assert signs["member"] == "${google_service_account.page[each.key].member}"
    assert resources("google_project_iam_custom_role")["signer"]["permissions"] == [
        "iam.serviceAccounts.signBlob"
    ]


def test_nothing_idle_costs_a_machine() -> None:
    for body in resources("google_cloud_run_v2_service").values():
        assert one(one(body["template"])["scaling"])["min_instance_count"] == 0


def test_every_function_may_publish_to_topics_that_the_settings_name() -> None:
    assert set(local("publishes")) == set(local("bucket_roles")) == {f.subscription for f in FUNCTIONS}
    fields = Settings.model_fields
    topics = {
        str(fields[name].default)
        for name in ("uploads_topic", "segments_topic", "segments_done_topic", "job_events_topic")
    }
    assert {topic for given in local("publishes").values() for topic in given} == topics


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_only_a_function_whose_code_ends_jobs_may_write_results_and_delete_sources(
    function: Function,
) -> None:
    ends_jobs = "defacer.pipeline.lifecycle.finalize" in modules_after_importing(
        f"defacer.{function.name}.main"
    )
    given = local("bucket_roles")[function.subscription]

    reads = function.name == "ingest"  # the reports of what is rendered again
    role = "roles/storage.objectUser" if ends_jobs else "roles/storage.objectViewer" if reads else None
    assert given.get("output") == role
    assert (function.subscription in local("source_removers")) == ends_jobs
    assert given["intake"] == "roles/storage.objectViewer"


def test_no_secret_is_written_down() -> None:
    for kind in ("resource", "locals"):
        for label, body in blocks(kind):
            for name, value in arguments(body):
                assert not SECRET.search(name) or value.startswith("${"), f"{label}: {name} = {value}"
                assert not KEY.search(re.sub(r"\$\{.*?\}", "", value)), f"{label}: {name} = {value}"
    for label, body in blocks("variable"):
        assert not SECRET.search(label) or body.get("sensitive") is True


def arguments(body: Any) -> Iterator[tuple[str, str]]:
    """The name and the value of every argument that is a text, however deep."""
    for item in body if isinstance(body, list) else [body]:
        for name, value in item.items() if isinstance(item, dict) else ():
            if isinstance(value, str):
                yield name, value
            else:
                yield from arguments(value)


def test_old_images_are_deleted_which_immutable_tags_would_forbid() -> None:
    body = resources("google_artifact_registry_repository")["images"]
    assert {policy["action"] for policy in body["cleanup_policies"]} == {"KEEP", "DELETE"}
    assert "docker_config" not in body


def test_a_budget_may_be_made_with_a_person_s_own_login() -> None:
    ((_, provider),) = blocks("provider")
    assert provider["user_project_override"] == "${var.billing_account != null}"
    assert provider["billing_project"] == "${var.project}"
