"""The demand of a day's hours of video on each service, and when each limit is reached."""

from dataclasses import dataclass

from infra.capacity.inputs import inputs
from infra.capacity.speed import SIZES, Kind, second_price, storage_price, work
from infra.capacity.uploads import DAY, SIZE_SHARES, SWING, default_settings

PEAK = 1 + SWING  # of the mean, in the busiest hour
MESSAGES_PER_SEGMENT = 4  # a task and its completion, in both steps
MERGE_INSTANCES, MERGE_CONCURRENCY = 20, 4
HOURS = (100, 1_000, 10_000, 100_000)


@dataclass(frozen=True)
class Demand:
    """A day's demand per second in its busiest hour, and the instances that prevent a backlog."""

    cpu_workers: float
    gpu_workers: float
    messages: float
    pushes_to_merge: float
    writes: float
    lists: float
    reads: float


@dataclass(frozen=True)
class Limit:
    """A limit. It is reached in the busiest hour of a day with this number of `hours` of video."""

    name: str
    value: str
    hours: float
    remedy: str


def mean_work(kind: Kind) -> float:
    """Return a worker's seconds per second of video, averaged over the uploaded sizes."""
    seconds = default_settings().segment_seconds
    return sum(share * work(kind, size, seconds) for share, size in zip(SIZE_SHARES, SIZES, strict=True))


def demand(hours: float) -> Demand:
    """Return the demand of a day with this number of hours of video."""
    video = hours * 3600 / DAY * PEAK  # seconds of video that arrive per second
    segments = video / default_settings().segment_seconds
    return Demand(
        cpu_workers=video * mean_work("cpu"),
        gpu_workers=video * mean_work("gpu"),
        messages=MESSAGES_PER_SEGMENT * segments,
        pushes_to_merge=2 * segments,
        writes=segments * inputs()["requests_a_segment_write"],
        lists=segments * inputs()["requests_a_segment_list"],
        reads=segments * inputs()["requests_a_segment_read"],
    )


def day_cost(kind: Kind, hours: float) -> float:
    """Return the cost of a day in USD on workers that are never idle."""
    seconds = hours * 3600
    return seconds * mean_work(kind) * second_price(kind) + storage_price(
        seconds / default_settings().segment_seconds
    )


def limits() -> list[Limit]:
    """Return all limits, sorted by the hours of video that reach them. Demand is proportional to the hours."""
    table, hourly = inputs(), demand(1)
    cpu_instances = table["cpu_quota"] / table["cpu_worker_cpu"]
    merges = MERGE_INSTANCES * MERGE_CONCURRENCY / table["merge_message_seconds"]
    publish = table["publish_bytes"] / table["message_bytes"]
    slow = table["push_window_slow"]
    found = [
        Limit("L4 quota", f"{table['gpu_quota']:.0f} GPUs", table["gpu_quota"] / hourly.gpu_workers,
              "request quota, or use CPU workers"),
        Limit("CPU quota of a region", f"{table['cpu_quota']:.0f} vCPU: {cpu_instances:.0f} CPU workers",
              cpu_instances / hourly.cpu_workers, "request quota"),
        Limit("merge, 20 instances", f"{merges:.0f} messages/s", merges / hourly.pushes_to_merge,
              "raise its instance limit"),
        Limit("push window, CPU workers", f"{slow:.0f} segments in progress", slow / hourly.cpu_workers,
              "add a second subscription and service, or pull"),
        Limit("push window, GPU workers", f"{slow:.0f} segments in progress", slow / hourly.gpu_workers,
              "add a second subscription and service, or pull"),
        Limit("writes to the work bucket", f"{table['bucket_writes']:.0f}/s at first",
              table["bucket_writes"] / hourly.writes, "scales within minutes"),
        Limit("reads and listings of the work bucket", f"{table['bucket_reads']:.0f}/s at first",
              table["bucket_reads"] / (hourly.reads + hourly.lists), "scales within minutes"),
        Limit("publishing", f"{publish:.0f} messages/s", publish / hourly.messages, "request quota"),
    ]  # fmt: skip
    return sorted(found, key=lambda limit: limit.hours)
