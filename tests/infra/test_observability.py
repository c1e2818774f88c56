"""Metrics, dashboard, alerts and runbook refer only to log lines, metrics and sections that exist."""

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


def log_lines() -> Iterator[tuple[str, set[str]]]:
    """Yield the message and the fields of every line that the functions log."""
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
                # An error adds two fields, and log.bound adds two around a segment step.
                more = {"error", "code"} if len(node.args) > 1 else set()
                yield str(node.args[0].value), fields | more | {"message", "function", "step"}


def rendered_dashboard() -> dict[str, object]:
    text = (INFRA / "dashboard.json.tftpl").read_text()
    placeholders = set(re.findall(r"\$\{(\w+)\}", text))
    assert placeholders == {"worker_price_per_second"}
    document: dict[str, object] = json.loads(text.replace("${worker_price_per_second}", "0.000058"))
    return document


def test_code_logs_every_line_and_field_of_a_metric() -> None:
    lines = dict(log_lines())
    metrics = {**local("counted"), **local("measured")}
    assert metrics
    for metric in metrics.values():
        for message in metric["messages"]:
            required = set(metric["labels"].values()) | {metric.get("field", "message")}
            assert message in lines
            # A label without a field is empty, but a distribution needs its number.
            assert metric.get("field", "message") in lines[message]
            assert required <= {field for text in metric["messages"] for field in lines[text]}


def test_runbook_quotes_log_lines_and_tiles_as_they_are() -> None:
    """The error of an incompatible GPU driver has versions in it: its words are compared up to the first one."""
    runbook = " ".join((INFRA / "RUNBOOK.md").read_text().split())
    quoted = set(re.findall(r"(?<![*`\w])\*([^*`]+)\*(?![*\w])", runbook))
    driver = {line for line in quoted if line.startswith("PyTorch is built for CUDA ")}
    assert "PyTorch is built for CUDA " in (ROOT / "functions/defacer/engine/runtime/gpu.py").read_text()
    assert quoted - driver <= dict(log_lines()).keys()
    tiles = set(re.findall(r'tile "([^"]+)"', runbook))
    assert tiles
    assert tiles <= set(re.findall(r'"title": "([^"]+)"', json.dumps(rendered_dashboard())))


def test_dashboard_shows_existing_metrics() -> None:
    text = json.dumps(rendered_dashboard())
    shown = set(re.findall(r"user_defacer_(\w+?)(?:_sum|_bucket|_count)?\{", text))
    counted, measured = set(local("counted")), set(local("measured"))
    assert shown == counted | measured
    summed = set(re.findall(r"user_defacer_(\w+?)(?:_sum|_bucket|_count)\{", text))
    assert summed == measured


def test_dashboard_has_tiles_for_states_ages_speed_and_cost() -> None:
    layout = rendered_dashboard()["mosaicLayout"]
    assert isinstance(layout, dict)
    shown = {tile["widget"]["title"]: json.dumps(tile["widget"]) for tile in layout["tiles"]}
    for title, metrics in {
        "Jobs now": ("num_undelivered_messages", "defacer_jobs"),
        "Segments now": ("num_outstanding_messages", "linked_segments_sum", "joined_segments_sum"),
        "Age of the oldest message": ("oldest_unacked_message_age",),
        "Dead letters": ("dead_letter_message_count",),
        "Seconds of video per worker second": ("video_seconds_sum", "billable_instance_time"),
        "Workers' cost of a minute of video": ("0.000058", "video_seconds_sum"),
    }.items():
        (tile,) = (text for name, text in shown.items() if name.startswith(title))
        assert all(metric in tile for metric in metrics), title


def test_dashboard_queries_existing_resources_and_lines() -> None:
    text = json.dumps(rendered_dashboard()).replace('\\"', '"')
    subscriptions = {*local("every_function"), local("keeper")["name"]}
    assert set(re.findall(r'subscription_id="([^"]+)"', text)) <= subscriptions
    messages = {message for metric in local("counted").values() for message in metric["messages"]}
    assert set(re.findall(r'event="([^"]+)"', text)) <= messages
    assert set(re.findall(r'service_name="([^"]+)"', text)) == {"worker"}


def test_dashboard_tiles_do_not_overlap() -> None:
    layout = rendered_dashboard()["mosaicLayout"]
    assert isinstance(layout, dict)
    occupied: set[tuple[int, int]] = set()
    for tile in layout["tiles"]:
        cells = {
            (tile["xPos"] + x, tile["yPos"] + y) for x in range(tile["width"]) for y in range(tile["height"])
        }
        assert not occupied & cells
        assert max(x for x, _ in cells) < layout["columns"]
        occupied |= cells


def test_every_alert_points_to_a_section_of_the_runbook() -> None:
    headings = re.findall(r"^## (.+)$", (INFRA / "RUNBOOK.md").read_text(), re.MULTILINE)
    pointed = [
        re.search(r'infra/RUNBOOK\.md, "([^"]+)"', " ".join(strings(body["documentation"])))
        for body in resources("google_monitoring_alert_policy").values()
    ]
    assert [found[1] in headings for found in pointed if found] == [True] * len(pointed)
    assert "Spend" in headings
    assert set(resources("google_billing_budget")) == {"month"}
    assert len(headings) == len(pointed) + 1


def test_every_alert_notifies_all_channels() -> None:
    for body in resources("google_monitoring_alert_policy").values():
        assert body["notification_channels"] == "${local.channels}"
        assert body["count"] == "${var.alerts ? 1 : 0}"


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_worker_has_the_size_and_price_of_the_capacity_model(kind: Kind) -> None:
    worker = local("workers")[kind]
    assert float(worker["cpu"]) == inputs()[f"{kind}_worker_cpu"]
    assert worker["memory"] == f"{inputs()[f'{kind}_worker_memory']:.0f}Gi"
    assert local("worker_prices")[kind] == pytest.approx(second_price(kind), rel=0.01)


def test_frame_limit_of_ingest_fits_the_worker_s_memory() -> None:
    max_pixels = {
        kind: math.prod(map(int, re.findall(r"\d+", worker["max_pixels"])))
        for kind, worker in local("workers").items()
    }
    assert max_pixels["gpu"] == Settings.model_fields["max_frame_pixels"].default
    # Measured: 4.2 GB at 8192x4608. The server and a segment's file need memory too.
    assert 4.2 * max_pixels["cpu"] / max_pixels["gpu"] < 0.75 * inputs()["cpu_worker_memory"]
    assert local("values")["ingest"]["DEFACER_MAX_FRAME_PIXELS"] == "${tostring(local.worker.max_pixels)}"
