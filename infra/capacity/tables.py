"""The tables of `infra/CAPACITY.md`, in Markdown."""

from collections.abc import Iterable, Sequence

from infra.capacity.break_even import break_even
from infra.capacity.inputs import inputs, read_rows
from infra.capacity.patience import CHOICES, min_wait_hours
from infra.capacity.service_limits import HOURS, day_cost, demand, limits
from infra.capacity.speed import SIZES, Kind, minute_price, seconds_per_video_second, work
from infra.capacity.uploads import SimulatedUpload, clips_beside_archive, default_settings
from infra.capacity.worker_queue import Outcome, percentile, simulate

KINDS: tuple[Kind, Kind] = ("cpu", "gpu")
NAMES = {"cpu": "CPU", "gpu": "L4"}
WORKERS = (1, 10, 100)
FAIRNESS_WORKERS: tuple[tuple[Kind, int], ...] = (("cpu", 10), ("cpu", 50), ("gpu", 3))


def render_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


def format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def minutes() -> str:
    """Return the cost of a minute of video, by frame size and worker."""
    google, seconds = inputs()["google_face_blur_minute"], default_settings().segment_seconds
    overhead = inputs()["segment_overhead_seconds"]
    rows = []
    for size in SIZES:
        for kind in KINDS:
            price = minute_price(kind, size, seconds)
            steps = [seconds_per_video_second(kind, step, size) for step in ("detect", "redact")]
            rows.append(
                (
                    size.name,
                    "CPU (measured)" if kind == "cpu" else "L4 (assumed)",
                    *(f"{60 * step:.1f} s" for step in steps),
                    f"{60 * work(kind, size, seconds):.1f} s",
                    f"{price:.4f} USD",
                    f"1/{google / price:.0f}",
                    " + ".join(f"{seconds * step + overhead:.1f} s" for step in steps),
                )
            )
    head = (
        "video",
        "worker",
        "detect",
        "redact",
        "with overhead",
        "cost per minute",
        "share of Google's 0.10 USD",
        f"a segment of {seconds:g} s",
    )
    return render_table(head, rows)


def break_even_points() -> str:
    """Return how fast the networks of an L4 have to be, by frame size and by the steps that it does."""
    rows = []
    for size in SIZES:
        for name, point in (
            ("both steps, as built", break_even(size, "detect", "redact")),
            ("detect only, not built", break_even(size, "detect")),
            (
                "detect only, several segments at a time, not built",
                break_even(size, "detect", is_overlapped=True),
            ),
        ):
            needed = "never" if point.speed is None else f"{point.speed:.1f} times two cores"
            seconds = (f"{value:.1f} s" for value in (point.cpu, point.allowed, point.least))
            rows.append((size.name, name, *seconds, needed))
    head = (
        "video",
        "the L4 does",
        "CPU worker",
        "allowed on an L4",
        "least on an L4",
        "pays if the networks are",
    )
    return render_table(head, rows)


def hours_of_video() -> str:
    """Return the time and cost of an hour of video, by the number of workers."""
    rows = []
    for kind in KINDS:
        for maximum in WORKERS:
            out = simulate([SimulatedUpload(0.0, 3600.0, SIZES[1])], kind, maximum)
            rows.append(
                (
                    NAMES[kind],
                    str(maximum),
                    str(out.used),
                    format_duration(out.ended_at),
                    f"{out.cost:.2f} USD",
                    f"{out.use:.0%}",
                )
            )
    return render_table(("worker", "maximum", "started", "from upload to published", "cost", "use"), rows)


def outcomes(found: Iterable[Outcome]) -> str:
    rows = []
    for out in found:
        waits, jobs = (
            " / ".join(format_duration(percentile(seconds, share)) for share in (0.5, 0.95, 1))
            for seconds in (out.waits, out.job_seconds)
        )
        rows.append(
            (
                f"{out.maximum} {NAMES[out.kind]}",
                waits,
                jobs,
                f"{out.use:.0%}",
                format_duration(out.ended_at),
                f"{out.cost:.0f} USD, {out.cost / out.video_seconds * 60:.4f}",
            )
        )
    head = (
        "max workers",
        "a segment waits: median / 95 % / longest",
        "upload to published: median / 95 % / longest",
        "use",
        "finished after",
        "cost, per minute",
    )
    return render_table(head, rows)


def patience() -> str:
    rows = [
        (
            f"{retries.minimum_seconds} to {retries.maximum_seconds} s",
            str(attempts),
            f"{min_wait_hours(retries, attempts):.1f} h",
        )
        for retries, attempts in CHOICES
    ]
    return render_table(("retry policy", "attempts", "exhausted after, at the earliest"), rows)


def growth() -> str:
    rows = []
    for hours in HOURS:
        needed = demand(hours)
        rows.append(
            (
                f"{hours:,}",
                f"{needed.cpu_workers:,.0f}",
                f"{needed.gpu_workers:,.0f}",
                f"{needed.messages:,.0f}",
                f"{needed.writes:,.0f} / {needed.lists:,.0f} / {needed.reads:,.0f}",
                f"{day_cost('cpu', hours):,.0f} USD",
                f"{day_cost('gpu', hours):,.0f} USD",
            )
        )
    head = (
        "hours of video per day",
        "CPU workers",
        "L4 workers",
        "messages/s",
        "storage: writes / lists / reads per second",
        "cost per day on CPU",
        "cost per day on L4",
    )
    return render_table(head, rows)


def bottlenecks() -> str:
    rows = [(f"{limit.hours:,.0f}", limit.name, limit.value, limit.remedy) for limit in limits()]
    return render_table(("reached at, hours per day", "limit", "value", "remedy"), rows)


def fairness() -> str:
    """Return how long clips take alone, and beside the archive of another channel."""
    rows = []
    for kind, maximum in FAIRNESS_WORKERS:
        archive, clips = clips_beside_archive()
        alone = simulate(clips, kind, maximum)
        outs = [simulate([*archive, *clips], kind, maximum, has_shares=shares) for shares in (False, True)]
        usual = _longest_seconds(clips, alone)
        longest = [_longest_seconds(clips, out) for out in outs]
        rows.append(
            (
                f"{maximum} {NAMES[kind]}",
                format_duration(usual),
                *(f"{format_duration(seconds)} ({seconds / usual:.1f} times)" for seconds in longest),
                *(format_duration(out.ended_at) for out in outs),
            )
        )
    head = (
        "workers",
        "a clip alone",
        "beside the archive, without shares",
        "with shares",
        "archive published, without shares",
        "with shares",
    )
    return render_table(head, rows)


def _longest_seconds(clips: Sequence[SimulatedUpload], out: Outcome) -> float:
    """Return the longest time of these clips from upload to published, without the first one, which starts cold."""
    return max(at - upload.at for upload, at in out.published if upload in clips[1:])


def all_inputs() -> str:
    rows = [
        (f"`{name}`", f"{row.value:.10g}", row.unit, row.date, row.source)
        for name, row in read_rows().items()
    ]
    return render_table(("input", "value", "unit", "date", "source"), rows)
