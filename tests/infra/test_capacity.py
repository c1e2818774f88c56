"""The capacity simulation ends every job, and the pages contain its current tables."""

import re
from dataclasses import replace
from random import Random

import pytest

from defacer.pipeline.settings import Settings
from defacer.pipeline.topology import CLOUD_RETRIES, FUNCTIONS
from infra.capacity import tables
from infra.capacity.break_even import break_even
from infra.capacity.inputs import inputs, read_rows
from infra.capacity.page import render_capacity_page
from infra.capacity.patience import ATTEMPTS, max_job_days, min_wait_hours, round_seconds
from infra.capacity.service_limits import limits
from infra.capacity.speed import SIZES, FrameSize, Kind, minute_price, work
from infra.capacity.uploads import (
    DAY,
    SimulatedUpload,
    archive_uploads,
    clips_beside_archive,
    day_uploads,
)
from infra.capacity.worker_queue import simulate
from tests.servers import ROOT
from tests.terraform import INFRA, blocks

PAGE = ROOT / "infra" / "CAPACITY.md"
# Names of inputs that the code composes.
COMPOSED_NAMES = r"(cpu|gpu)_worker_(cpu|memory)|cold_start_(cpu|gpu)"
SHORT = SimulatedUpload(0.0, 30.0, SIZES[1])


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
@pytest.mark.parametrize("maximum", [1, 7])
def test_every_segment_is_done_twice_and_every_job_ends(kind: Kind, maximum: int) -> None:
    uploads = archive_uploads(30, Random(1))
    out = simulate(uploads, kind, maximum)
    assert out.segments == sum(len(upload.segments()) for upload in uploads)
    assert len(out.waits) == 2 * out.segments
    assert len(out.job_seconds) == 30
    assert 1 <= out.used <= maximum
    assert 0 < out.worked + out.started <= out.lived


def test_one_worker_does_one_segment_after_the_other() -> None:
    """An idle worker is used again, so the second upload waits for no start."""
    out = simulate([SHORT, replace(SHORT, at=300.0)], "cpu", 1, has_shares=False)
    start = inputs()["cold_start_cpu"]
    assert out.started == start
    first, second, third = out.waits[:3]
    assert first == start < second < third
    assert out.waits[6] == 0.0


def test_more_workers_are_faster_and_more_pixels_are_slower() -> None:
    hour = [SimulatedUpload(0.0, 3600.0, SIZES[1])]
    times = [simulate(hour, "cpu", maximum).ended_at for maximum in (1, 4, 16)]
    assert times == sorted(times, reverse=True)
    for kind in ("cpu", "gpu"):
        prices = [minute_price(kind, size, 10) for size in SIZES]
        assert prices == sorted(prices)
    assert all(work("gpu", size, 10) < work("cpu", size, 10) for size in SIZES)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_l4_costs_as_much_as_cpu_workers_at_the_break_even_speed(
    size: FrameSize, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU is free here, because an L4 pays at no speed at today's price."""
    monkeypatch.setitem(inputs(), "gpu_second", 0.0)
    point = break_even(size, "detect", "redact")
    assert point.speed is not None
    monkeypatch.setitem(inputs(), "gpu_networks", point.speed)
    assert minute_price("gpu", size, 10) == pytest.approx(minute_price("cpu", size, 10))
    monkeypatch.setitem(inputs(), "gpu_networks", 1e9)
    assert 60 * work("gpu", size, 10) == pytest.approx(point.least)
    assert 60 * work("cpu", size, 10) == pytest.approx(point.cpu)


def test_no_speed_of_an_l4_pays_for_both_steps() -> None:
    assert [break_even(size, "detect", "redact").speed for size in SIZES] == [None, None, None]


def test_idle_gpu_is_billed_until_it_is_removed() -> None:
    linger = (inputs()["linger_min"] + inputs()["linger_max"]) / 2
    out = simulate([SHORT], "gpu", 1)
    assert out.lived >= inputs()["cold_start_gpu"] + out.worked + linger
    idle_for_hours = simulate([SHORT, replace(SHORT, at=7200.0)], "gpu", 1)
    assert idle_for_hours.lived >= 2 * linger
    assert idle_for_hours.started == 2 * inputs()["cold_start_gpu"]
    assert idle_for_hours.lived < 7200, "it is removed in between"


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
        tables.break_even_points,
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


def test_page_of_a_small_day_is_rendered() -> None:
    text = render_capacity_page(20)
    assert "A day of 20 uploads" in text
    (choice,) = re.findall(r"^With `WORKER=gpu`.*?\n\n", text, re.M | re.S)
    assert choice in PAGE.read_text("utf-8"), "run make capacity"
    figures = choice.splitlines()[1].rstrip(".")
    for page in ("README.md", "DEPLOYMENT.md"):
        assert figures in " ".join((INFRA / page).read_text("utf-8").split()), page
    assert re.search(r"\bnan\b|\binf\b", text) is None


def test_archive_delays_a_clip_of_another_channel_by_at_most_four_times() -> None:
    archive, clips = clips_beside_archive()
    alone = max(simulate(clips, "cpu", 10).job_seconds[1:])

    def slowest(*, has_shares: bool) -> float:
        out = simulate([*archive[:100], *clips], "cpu", 10, has_shares=has_shares)
        return max(at - upload.at for upload, at in out.published if upload in clips[1:])

    assert slowest(has_shares=True) < 4 * alone
    assert slowest(has_shares=False) > 20 * alone


def test_archive_with_shares_keeps_the_workers_busy() -> None:
    archive, _ = clips_beside_archive()
    with_shares, without = (simulate(archive[:100], "cpu", 10, has_shares=shares) for shares in (True, False))
    assert with_shares.ended_at < 1.1 * without.ended_at
