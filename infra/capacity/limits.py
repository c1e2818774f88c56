"""Where it ends: what a day of so many hours of video asks of each service, and when a limit is reached."""

from dataclasses import dataclass

from infra.capacity.inputs import inputs
from infra.capacity.speed import SIZES, Kind, second_price, storage_price, work
from infra.capacity.uploads import DAY, SIZE_SHARES, SWING, settings

PEAK = 1 + SWING  # of the mean, in the busiest hour
MESSAGES_A_SEGMENT = 4  # a task and its end, in both steps
MERGE_INSTANCES, MERGE_CONCURRENCY = 20, 4
HOURS = (100, 1_000, 10_000, 100_000)


@dataclass(frozen=True)
class Demand:
    """What a day asks for in its busiest hour, by the second; instances are such that no backlog builds up."""

    hours: float
    segments: float
    cpu_workers: float
    gpu_workers: float

    @property
    def messages(self) -> float:
        return MESSAGES_A_SEGMENT * self.segments

    @property
    def pushes_to_merge(self) -> float:
        return 2 * self.segments

    @property
    def writes(self) -> float:
        return self.segments * inputs()["requests_a_segment_write"]

    @property
    def lists(self) -> float:
        return self.segments * inputs()["requests_a_segment_list"]

    @property
    def reads(self) -> float:
        return self.segments * inputs()["requests_a_segment_read"]


@dataclass(frozen=True)
class Limit:
    """`hours` of video a day at which it is reached in the busiest hour."""

    what: str
    value: str
    hours: float
    then: str


def mean_work(kind: Kind) -> float:
    """Seconds of a worker for a second of video, over the sizes that are uploaded."""
    seconds = settings().segment_seconds
    return sum(share * work(kind, size, seconds) for share, size in zip(SIZE_SHARES, SIZES, strict=True))


def demand(hours: float) -> Demand:
    video = hours * 3600 / DAY * PEAK  # seconds of video that arrive in a second
    return Demand(
        hours, video / settings().segment_seconds, video * mean_work("cpu"), video * mean_work("gpu")
    )


def day_cost(kind: Kind, hours: float) -> float:
    """USD for a day on workers that never idle."""
    seconds = hours * 3600
    return seconds * mean_work(kind) * second_price(kind) + storage_price(
        seconds / settings().segment_seconds
    )


def limits() -> list[Limit]:
    """All limits, the one that is reached first at the top. Demand grows in proportion to the hours."""
    table, one = inputs(), demand(1)
    cpu_instances = table["cpu_quota"] / table["cpu_worker_cpu"]
    merges = MERGE_INSTANCES * MERGE_CONCURRENCY / table["merge_message_seconds"]
    publish = table["publish_bytes"] / table["message_bytes"]
    slow = table["push_window_slow"]
    found = [
        Limit("L4 quota", f"{table['gpu_quota']:.0f} GPUs", table["gpu_quota"] / one.gpu_workers,
              "request quota, or use CPU workers"),
        Limit("CPU quota of a region", f"{table['cpu_quota']:.0f} vCPU: {cpu_instances:.0f} CPU workers",
              cpu_instances / one.cpu_workers, "request quota"),
        Limit("merge, 20 instances", f"{merges:.0f} messages/s", merges / one.pushes_to_merge,
              "raise its instance limit"),
        Limit("push window, CPU workers", f"{slow:.0f} segments in progress", slow / one.cpu_workers,
              "add a second subscription and service, or pull"),
        Limit("push window, GPU workers", f"{slow:.0f} segments in progress", slow / one.gpu_workers,
              "add a second subscription and service, or pull"),
        Limit("writes to the work bucket", f"{table['bucket_writes']:.0f}/s at first",
              table["bucket_writes"] / one.writes, "scales automatically within minutes, because `jobs/HASH` spreads the load"),
        Limit("reads and listings of the work bucket", f"{table['bucket_reads']:.0f}/s at first",
              table["bucket_reads"] / (one.reads + one.lists), "scales automatically within minutes, because `jobs/HASH` spreads the load"),
        Limit("publishing", f"{publish:.0f} messages/s", publish / one.messages, "request quota"),
    ]  # fmt: skip
    return sorted(found, key=lambda limit: limit.hours)
