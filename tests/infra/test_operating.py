"""Metrics, dashboard, alerts and runbook: each names what another one makes."""

import ast
import json
import math
import re
from collections.abc import Iterator

import pytest

from defacer.pipeline.settings import Settings
from infra.capacity.inputs import inputs
from infra.capacity.speed import Kind, second_price
from tests.servers import ROOT
from tests.terraform import INFRA, local, resources, strings

LEVELS = {"info", "warning", "error"}


def logged() -> Iterator[tuple[str, set[str]]]:
    """The message and the fields of every line that the functions log."""
    for path in (ROOT / "functions" / "defacer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
                and isinstance(node.args[0], ast.Constant)
            ):
                fields = {keyword.arg for keyword in node.keywords if keyword.arg}
                # An error is described by two fields; these are bound around a step of a segment (log.bound).
                more = {"error", "code"} if len(node.args) > 1 else set()
                yield str(node.args[0].value), fields | more | {"message", "function", "step"}


def rendered_dashboard() -> dict[str, object]:
    text = (INFRA / "dashboard.json.tftpl").read_text()
    placeholders = set(re.findall(r"\$\{(\w+)\}", text))
    assert placeholders == {"worker_price_per_second"}
    document: dict[str, object] = json.loads(text.replace("${worker_price_per_second}", "0.0002907"))
    return document


def test_the_code_writes_every_line_that_a_metric_counts_with_the_fields_that_it_takes() -> None:
    lines = dict(logged())
    metrics = {**local("counted"), **local("measured")}
    assert metrics
    for metric in metrics.values():
        for message in metric["messages"]:
            wanted = set(metric["labels"].values()) | {metric.get("field", "message")}
            assert message in lines
            # A label that a line has no field for is empty; a number has to be there.
            assert metric.get("field", "message") in lines[message]
            assert wanted <= {field for text in metric["messages"] for field in lines[text]}


def test_the_dashboard_shows_metrics_that_there_are() -> None:
    text = json.dumps(rendered_dashboard())
    shown = set(re.findall(r"user_defacer_(\w+?)(?:_sum|_bucket|_count)?\{", text))
    counted, measured = set(local("counted")), set(local("measured"))
    assert shown == counted | measured
    summed = set(re.findall(r"user_defacer_(\w+?)(?:_sum|_bucket|_count)\{", text))
    assert summed == measured


def test_the_dashboard_shows_states_ages_dead_letters_speed_and_cost() -> None:
    layout = rendered_dashboard()["mosaicLayout"]
    assert isinstance(layout, dict)
    shown = {tile["widget"]["title"]: json.dumps(tile["widget"]) for tile in layout["tiles"]}
    for title, metrics in {
        "Jobs now": ("num_undelivered_messages", "defacer_jobs"),
        "Segments now": ("num_outstanding_messages", "linked_segments_sum", "joined_segments_sum"),
        "Age of the oldest message": ("oldest_unacked_message_age",),
        "Dead letters": ("dead_letter_message_count",),
        "Seconds of video per GPU second": ("video_seconds_sum", "billable_instance_time"),
        "Workers' cost of a minute of video": ("0.0002907", "video_seconds_sum"),
    }.items():
        (found,) = (text for name, text in shown.items() if name.startswith(title))
        assert all(metric in found for metric in metrics), title


def test_a_query_asks_for_subscriptions_functions_and_lines_that_there_are() -> None:
    text = json.dumps(rendered_dashboard()).replace('\\"', '"')
    subscriptions = {*local("every_function"), local("keeper")["name"]}
    assert set(re.findall(r'subscription_id="([^"]+)"', text)) <= subscriptions
    messages = {message for metric in local("counted").values() for message in metric["messages"]}
    assert set(re.findall(r'event="([^"]+)"', text)) <= messages
    assert set(re.findall(r'service_name="([^"]+)"', text)) == {"worker"}


def test_the_tiles_of_the_dashboard_lie_side_by_side() -> None:
    layout = rendered_dashboard()["mosaicLayout"]
    assert isinstance(layout, dict)
    taken: set[tuple[int, int]] = set()
    for tile in layout["tiles"]:
        cells = {
            (tile["xPos"] + x, tile["yPos"] + y) for x in range(tile["width"]) for y in range(tile["height"])
        }
        assert not taken & cells
        assert max(x for x, _ in cells) < layout["columns"]
        taken |= cells


def test_every_alert_points_to_a_paragraph_of_the_runbook() -> None:
    headings = re.findall(r"^## (.+)$", (INFRA / "RUNBOOK.md").read_text(), re.MULTILINE)
    pointed = [
        re.search(r'infra/RUNBOOK\.md, "([^"]+)"', " ".join(strings(body["documentation"])))
        for body in resources("google_monitoring_alert_policy").values()
    ]
    assert [found[1] in headings for found in pointed if found] == [True] * len(pointed)
    assert "Spend" in headings
    assert set(resources("google_billing_budget")) == {"month"}
    assert len(headings) == len(pointed) + 1


def test_everybody_who_is_to_be_told_is_told_of_every_alert() -> None:
    for body in resources("google_monitoring_alert_policy").values():
        assert body["notification_channels"] == "${local.channels}"
        assert body["count"] == "${var.alerts ? 1 : 0}"


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_worker_is_as_large_and_costs_as_much_as_capacity_reckons_with(kind: Kind) -> None:
    worker = local("workers")[kind]
    assert float(worker["cpu"]) == inputs()[f"{kind}_worker_cpu"]
    assert worker["memory"] == f"{inputs()[f'{kind}_worker_memory']:.0f}Gi"
    assert local("worker_prices")[kind] == pytest.approx(second_price(kind), rel=0.01)


def test_ingest_takes_no_picture_that_a_worker_has_no_memory_for() -> None:
    most = {
        kind: math.prod(map(int, re.findall(r"\d+", worker["most_pixels"])))
        for kind, worker in local("workers").items()
    }
    assert most["gpu"] == Settings.model_fields["max_frame_pixels"].default
    # 4.2 GB at 8192x4608, measured; and room for the server and a segment's file.
    assert 4.2 * most["cpu"] / most["gpu"] < 0.75 * inputs()["cpu_worker_memory"]
    assert local("values")["ingest"] == {"DEFACER_MAX_FRAME_PIXELS": "${tostring(local.worker.most_pixels)}"}
