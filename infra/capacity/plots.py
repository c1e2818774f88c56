"""The plots of `infra/CAPACITY.md`."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from infra.capacity.inputs import inputs
from infra.capacity.pipeline import Outcome
from infra.capacity.runs import Runs
from infra.capacity.simulated_uploads import default_settings
from infra.capacity.speed import SIZES, minute_price
from infra.capacity.tables import KINDS, NAMES

DOTS_PER_INCH = 72  # for small files


def write_plots(runs: Runs, folder: Path) -> None:
    """Write the three plots into a folder."""
    folder.mkdir(exist_ok=True)
    _plot_cost(folder / "cost.png")
    _plot_day(_adaptive(runs.day), folder / "day.png")
    _plot_waits(_adaptive(runs.day), folder / "waits.png")


def _adaptive(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [out for out in outcomes if out.scenario.window == "adaptive"]


def _label(out: Outcome) -> str:
    return f"{out.scenario.maximum} {NAMES[out.scenario.kind]}"


def _plot_cost(path: Path) -> None:
    figure = Figure(figsize=(7, 3))
    axes = figure.subplots()
    for offset, kind in zip((-0.2, 0.2), KINDS, strict=True):
        prices = [minute_price(kind, size, default_settings().segment_seconds) for size in SIZES]
        label = "CPU, measured" if kind == "cpu" else "L4, assumed"
        axes.bar([place + offset for place in range(len(SIZES))], prices, 0.38, label=label)
    axes.axhline(
        inputs()["google_face_blur_minute"], color="black", linestyle="--", label="Google's face blur"
    )
    axes.set_yscale("log")
    axes.set_xticks(range(len(SIZES)), [size.name for size in SIZES])
    axes.set_ylabel("USD a minute of video")
    axes.legend()
    _save(figure, path)


def _plot_day(outcomes: Sequence[Outcome], path: Path) -> None:
    figure = Figure(figsize=(8, 5))
    upper, lower = figure.subplots(2, 1, sharex=True)
    for out in outcomes:
        for axes, history in ((upper, out.instances), (lower, out.backlog)):
            hours, values = _sample_every_five_minutes(history)
            axes.step(hours, values, where="post", label=_label(out), linewidth=1)
    upper.set_ylabel("instances")
    lower.set_ylabel("segments not done")
    lower.set_xlabel("hours since midnight")
    lower.set_yscale("symlog", linthresh=100)
    upper.set_xlim(0, 36)
    upper.legend(ncols=3, fontsize="small")
    _save(figure, path)


def _plot_waits(outcomes: Sequence[Outcome], path: Path) -> None:
    figure = Figure(figsize=(8, 3.5))
    axes = figure.subplots()
    for out in outcomes:
        times = sorted(out.job_seconds)
        shares = [100 * (number + 1) / len(times) for number in range(len(times))]
        axes.plot([seconds / 60 for seconds in times], shares, label=_label(out))
    axes.set_xscale("log")
    axes.set_xlabel("minutes from upload to published")
    axes.set_ylabel("% of the videos")
    axes.legend(fontsize="small")
    _save(figure, path)


def _sample_every_five_minutes(history: Sequence[tuple[float, int]]) -> tuple[list[float], list[int]]:
    """Return the times in hours and the values of a history, sampled every five minutes."""
    hours, values, rows = [], [], iter([*history, (float("inf"), 0)])
    value, (following, then) = 0, next(rows)
    for slot in range(int(history[-1][0] // 300) + 2):
        while following <= slot * 300:
            value = then
            following, then = next(rows)
        hours.append(slot / 12)
        values.append(value)
    return hours, values


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    FigureCanvasAgg(figure)
    # Without a date or version in the metadata, the same numbers produce the same file.
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
