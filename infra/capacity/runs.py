"""The simulations for the page: an hour of video, a day of uploads, and an archive that is uploaded at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from infra.capacity.pipeline import Outcome, Scenario, simulate
from infra.capacity.simulated_uploads import DAY, SimulatedUpload, day_uploads
from infra.capacity.speed import SIZES, Kind

SEED = 20_261_125
UPLOADS, ARCHIVE, LARGE_ARCHIVE = 10_000, 300, 600
ARCHIVE_SECONDS = 600
WORKERS = (1, 10, 100)
DAYS = (
    Scenario("cpu", 100),
    Scenario("cpu", 50),
    Scenario("cpu", 30),
    Scenario("gpu", 20),
    Scenario("gpu", 20, "flood"),
    Scenario("gpu", 20, "paced"),
    Scenario("gpu", 10),
    Scenario("gpu", 3),
)
ARCHIVES = tuple(
    Scenario("gpu", maximum, window) for maximum in (10, 3, 1) for window in ("adaptive", "flood", "paced")
)


@dataclass(frozen=True)
class Runs:
    """The outcomes of the long runs. The large archive has twice as many videos."""

    day: tuple[Outcome, ...]
    archive: tuple[Outcome, ...]
    large_archive: tuple[Outcome, ...]


def simulate_hour(kind: Kind, maximum: int) -> Outcome:
    """Simulate one hour of 1080p, from the first cold start to the publication."""
    return simulate([SimulatedUpload(0.0, 3600.0, SIZES[1])], Scenario(kind, maximum, seed=SEED))


def archive_uploads(count: int) -> list[SimulatedUpload]:
    """Return a channel's earlier videos, uploaded within ten minutes."""
    return [
        replace(upload, at=upload.at / DAY * ARCHIVE_SECONDS) for upload in day_uploads(count, Random(SEED))
    ]


def simulate_long_runs(uploads: int, progress: Callable[[str], None]) -> Runs:
    """Simulate the day and the archives. 10,000 uploads take ten minutes."""

    def run(videos: list[SimulatedUpload], scenarios: tuple[Scenario, ...]) -> tuple[Outcome, ...]:
        found = []
        for scenario in scenarios:
            progress(f"{len(videos)} uploads, {scenario.kind} x {scenario.maximum}, {scenario.window} ...")
            found.append(simulate(videos, replace(scenario, seed=SEED)))
        return tuple(found)

    share = uploads / UPLOADS
    archive_videos, large = (
        archive_uploads(max(3, round(share * count))) for count in (ARCHIVE, LARGE_ARCHIVE)
    )
    return Runs(
        run(day_uploads(uploads, Random(SEED)), DAYS),
        run(archive_videos, ARCHIVES),
        run(large, tuple(scenario for scenario in ARCHIVES if scenario.maximum == 1)),
    )
