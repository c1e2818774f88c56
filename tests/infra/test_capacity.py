"""The capacity simulation loses no message or job, and the pages contain its current tables."""

import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import simpy

from defacer.pipeline.settings import Settings
from defacer.pipeline.topology import CLOUD_RETRIES, FUNCTIONS, RetryPolicy
from infra.capacity import plots, tables
from infra.capacity.inputs import inputs, read_rows
from infra.capacity.page import render_capacity_page
from infra.capacity.patience import ATTEMPTS, max_job_days, min_wait_hours, round_seconds
from infra.capacity.pipeline import Outcome, Scenario, percentile, simulate
from infra.capacity.runs import archive_uploads, simulate_hour, simulate_long_runs
from infra.capacity.service_limits import limits
from infra.capacity.simulated_cloud_run import Answer, Service, SimulatedCloudRun, SimulatedRequest
from infra.capacity.simulated_pubsub import PushWindow
from infra.capacity.simulated_uploads import DAY, SimulatedUpload, day_uploads, default_settings
from infra.capacity.speed import SIZES, minute_price, work
from tests.servers import ROOT
from tests.terraform import INFRA, blocks

PAGE = ROOT / "infra" / "CAPACITY.md"
MAX_PLOT_BYTES = 100_000
# Names of inputs that the code composes.
COMPOSED_NAMES = r"(cpu|gpu)_worker_(cpu|memory)|cold_start_(cpu|gpu)"
SHORT = SimulatedUpload(0.0, 30.0, SIZES[1])


def assert_each_ended_once(out: Outcome) -> None:
    assert out.done + out.dead == out.segment_messages
    assert out.attempts.total() == out.segment_messages + out.requeued
    assert out.completed + out.failed == out.jobs
    assert len(out.job_seconds) == out.completed
    assert len(out.waits) <= out.done
    assert out.deliveries == sum(attempts * count for attempts, count in out.attempts.items())
    assert out.backlog[-1][1] == 0
    assert out.instances[-1][1] == 0
    assert 0 < out.worked <= out.lived


@pytest.mark.parametrize("window", ["adaptive", "flood", "paced"])
def test_every_message_and_every_job_ends_once(window: PushWindow) -> None:
    out = simulate(archive_uploads(60), Scenario("cpu", 4, window))
    assert_each_ended_once(out)
    assert (out.completed, out.dead) == (60, 0)
    many_attempts = [attempts for attempts in out.attempts if attempts > 3]
    assert bool(many_attempts) == (window != "paced"), "only pulling avoids rejections"


def test_exhausted_message_fails_its_job_once() -> None:
    out = simulate(
        archive_uploads(60), Scenario("cpu", 2, "flood", retries=RetryPolicy(1, 2), max_attempts=5)
    )
    assert_each_ended_once(out)
    assert out.dead >= out.failed > 0
    assert out.requeued > out.dead
    assert max(out.attempts) == 5


def test_message_that_only_waited_is_requeued_and_completes() -> None:
    out = simulate(archive_uploads(20), Scenario("gpu", 1, "flood", max_attempts=10))
    assert_each_ended_once(out)
    assert out.requeued > 0
    assert (out.completed, out.dead) == (20, 0)


def test_healthy_segments_wait_for_hours_without_exhaustion() -> None:
    """One worker has a backlog of hours with the deployed settings, in the worst case for attempts."""
    out = simulate(archive_uploads(60), Scenario("gpu", 1, "flood"))
    assert_each_ended_once(out)
    assert percentile(out.waits, 1) > 3600
    assert out.dead == 0
    assert 10 < max(out.attempts) <= ATTEMPTS


def test_same_seed_leads_to_the_same_day() -> None:
    first, second = (simulate(day_uploads(40, Random(3)), Scenario("gpu", 3)) for _ in range(2))
    assert first == second
    assert simulate(day_uploads(40, Random(4)), Scenario("gpu", 3)) != first


def test_more_workers_are_faster_and_more_pixels_are_slower() -> None:
    times = [simulate_hour("cpu", maximum).ended_at for maximum in (1, 4, 16)]
    assert times == sorted(times, reverse=True)
    for kind in ("cpu", "gpu"):
        prices = [minute_price(kind, size, 10) for size in SIZES]
        assert prices == sorted(prices)
    assert all(work("gpu", size, 10) < work("cpu", size, 10) for size in SIZES)


def test_idle_gpu_is_billed_until_it_is_removed() -> None:
    out = simulate([SHORT], Scenario("gpu", 1))
    minimum = inputs()["cold_start_gpu"] + out.worked + inputs()["linger_min"]
    assert minimum <= out.lived
    idle_for_hours = simulate([SHORT, replace(SHORT, at=7200.0)], Scenario("gpu", 1))
    assert idle_for_hours.lived >= 2 * inputs()["linger_min"]
    assert idle_for_hours.lived < 7200, "it is removed in between"


def test_dead_instance_blocks_its_segment_until_lease_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    table = inputs()
    for name, value in (("deaths_per_hour", 100.0), ("transient_error_share", 0.0)):
        monkeypatch.setitem(table, name, value)
    # The uploads are so far apart that a long wait can only follow a death.
    uploads = [SimulatedUpload(2000.0 * number, 10.0, SIZES[1]) for number in range(40)]
    out = simulate(uploads, Scenario("cpu", 5, "paced"))
    assert_each_ended_once(out)
    assert out.completed == 40
    start, lease = table["cold_start_cpu"], default_settings().lease_seconds
    long_waits = [wait for wait in out.waits if wait > start]
    assert long_waits
    assert min(long_waits) > 2 / 3 * lease


def test_request_of_a_dead_instance_gets_a_new_instance() -> None:
    answers: list[Answer] = []
    env = simpy.Environment()
    service = SimulatedCloudRun(env, Random(1), Service(1, start_seconds=1.0, deaths_per_hour=1e9))
    for _ in range(3):
        service.submit(SimulatedRequest(lambda: 60.0, answers.append))
    env.run()
    assert answers == [Answer.DIED] * 3


def test_joining_speed_equals_the_limit_of_ingest() -> None:
    assert (
        round(1000 / Settings.model_fields["merge_megabytes_per_second"].default)
        == inputs()["join_seconds_per_gb"]
    )


def test_upload_is_segmented_as_ingest_does() -> None:
    segments = SimulatedUpload(0.0, 3600.0, SIZES[1]).segments()
    assert segments == (10.0,) * 360
    assert sum(SimulatedUpload(0.0, 100.5, SIZES[2]).segments()) == pytest.approx(100.5)


def test_uploads_arrive_all_day_and_mostly_in_the_evening() -> None:
    uploads = day_uploads(5000, Random(1))
    assert [upload.at for upload in uploads] == sorted(upload.at for upload in uploads)
    assert all(0 <= upload.at < DAY for upload in uploads)
    by_hour = [sum(upload.at // 3600 == hour for upload in uploads) for hour in range(24)]
    assert min(by_hour) > 0
    assert sum(by_hour[15:21]) > 3 * sum(by_hour[3:9])


def test_minimum_wait_equals_the_sum_of_pauses() -> None:
    """100 attempts: 10, 20, 40 ... 320 s, then 93 pauses of 600 s."""
    (worker,) = (function for function in FUNCTIONS if function.name == "worker")
    assert worker.max_delivery_attempts == ATTEMPTS
    assert min_wait_hours(CLOUD_RETRIES, ATTEMPTS) * 3600 == sum(10 * 2**n for n in range(6)) + 93 * 600


def test_pipeline_readme_states_the_maximum_job_time() -> None:
    """The time follows from deliveries, pauses, requeues and splits."""
    page = " ".join((ROOT / "functions" / "defacer" / "pipeline" / "README.md").read_text().split())
    stated = re.search(r"at most \*\*([\d.]+) days\*\*.* dead_letter answers: ([\d.]+) days", page)
    assert stated is not None
    assert [float(days) for days in stated.groups()] == [
        round(max_job_days(), 1),
        round(max_job_days(splits=0, dead_letter_rounds=0), 1),
    ]


def test_operations_page_states_the_maximum_job_time_and_retention() -> None:
    page = " ".join((INFRA / "OPERATIONS.md").read_text().split())
    stated = re.search(
        r"can take ([\d.]+) days at most, and ([\d.]+) days if no segment is split .* after (\d+) days, and then",
        page,
    )
    assert stated is not None
    assert [float(days) for days in stated.groups()] == [
        round(max_job_days(), 1),
        round(max_job_days(splits=0, dead_letter_rounds=0), 1),
        dict(blocks("variable"))["keep_work_days"]["default"],
    ]
    retention = re.search(r"To wait longer, set `keep_work_days` to (\d+)", page)
    assert retention is not None
    assert max_job_days() < int(retention[1])


def test_retention_outlasts_the_attempts_of_every_message() -> None:
    """Pub/Sub keeps a message for 7 days."""
    for function in FUNCTIONS:
        assert round_seconds(function) < 7 * DAY, function.name


def test_limits_are_sorted_by_hours_of_video() -> None:
    hours = [limit.hours for limit in limits()]
    assert hours == sorted(hours)
    assert limits()[0].name == "L4 quota"


def test_every_input_has_a_date_and_a_source_and_is_used() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "infra" / "capacity").glob("*.py"))
    for name, row in read_rows().items():
        assert re.fullmatch(r"20\d\d(-\d\d(-\d\d)?)?", row.date), name
        assert row.unit, name
        assert len(row.source) > 10, name
        assert f'"{name}"' in code or re.fullmatch(COMPOSED_NAMES, name), f"nothing reads {name}"


@pytest.mark.parametrize(
    "table",
    [
        tables.minutes,
        tables.hours_of_video,
        tables.patience,
        tables.growth,
        tables.bottlenecks,
        tables.all_inputs,
    ],
)
def test_page_has_the_current_tables(table: object) -> None:
    assert callable(table)
    assert table() in PAGE.read_text("utf-8"), "run make capacity"


def test_plots_of_the_page_exist_and_are_small() -> None:
    named = re.findall(r"\]\((capacity/\w+\.png)\)", PAGE.read_text("utf-8"))
    assert len(named) == 3
    for name in named:
        assert 1_000 < (PAGE.parent / name).stat().st_size < MAX_PLOT_BYTES


def test_page_and_plots_of_a_small_day_are_written(tmp_path: Path) -> None:
    runs = simulate_long_runs(20, lambda _: None)
    text = render_capacity_page(runs)
    assert "A day of 20 uploads" in text
    assert re.search(r"\bnan\b|\binf\b", text) is None
    plots.write_plots(runs, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"cost.png", "day.png", "waits.png"}
