"""A worker's time and cost per second of video, measured for the CPU and assumed for the GPU."""

from dataclasses import dataclass
from typing import Literal

from infra.capacity.inputs import inputs

Kind = Literal["cpu", "gpu"]
Step = Literal["detect", "redact"]
STEPS: tuple[Step, Step] = ("detect", "redact")


@dataclass(frozen=True)
class FrameSize:
    """A frame size."""

    name: str
    width: int
    height: int

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6


SIZES = (FrameSize("720p", 1280, 720), FrameSize("1080p", 1920, 1080), FrameSize("4K", 3840, 2160))


@dataclass(frozen=True)
class Stages:
    """Milliseconds per frame on two cores, by stage."""

    networks: float
    decode: float
    scale: float
    redact: float
    encode: float
    check: float


def stages_of(size: FrameSize) -> Stages:
    """Return the measured times at 720p and 4K, interpolated by pixels.

    The networks and the check of the result process small frames, so they take the same time at every size.
    """
    table, small, large = inputs(), SIZES[0], SIZES[-1]
    at_small = 1000 * table["seconds_720p"] / table["frames_measured"]
    slope = (table["frame_ms_4k"] - at_small) / (large.megapixels - small.megapixels)
    networks = table["network_share"] * at_small
    rest = at_small + slope * (size.megapixels - small.megapixels) - networks
    shares = table["decode_share"], table["redact_share"], table["encode_share"]
    decode, redact, encode = (rest * share / (1 - table["network_share"]) for share in shares)
    check = table["check_share"] * at_small
    return Stages(networks, decode, rest - decode - redact - encode, redact, encode, check)


def seconds_per_video_second(kind: Kind, step: Step, size: FrameSize) -> float:
    """Return an instance's seconds per second of video in one step, without the overhead per segment."""
    table, stages = inputs(), stages_of(size)
    networks, rest = (table["gpu_networks"], table["gpu_rest"]) if kind == "gpu" else (1.0, 1.0)
    milliseconds = stages.decode / 2 / rest
    if step == "detect":
        milliseconds += stages.networks / networks + stages.scale / rest
    else:
        milliseconds += (stages.redact + stages.encode + stages.check) / rest
    return milliseconds / 1000 * table["frame_rate"]


def work(kind: Kind, size: FrameSize, segment_seconds: float) -> float:
    """Return an instance's seconds per second of video in both steps, with the overhead of its segments."""
    overhead = 2 * inputs()["segment_overhead_seconds"] / segment_seconds
    return overhead + sum(seconds_per_video_second(kind, step, size) for step in STEPS)


def second_price(kind: Kind) -> float:
    """Return the price of a worker's second in USD: of its lifetime with a GPU, of its work without.

    Cloud Run bills instances with a GPU for their whole lifetime. Other instances can be billed by request, which costs
    a third more per second and nothing while they are idle.
    """
    table = inputs()
    cpu, memory = (table[f"{kind}_worker_{part}"] for part in ("cpu", "memory"))
    if kind == "cpu":
        return small_price(cpu, memory)
    return cpu * table["cpu_second"] + memory * table["memory_second"] + table["gpu_second"]


def small_price(cpu: float, memory: float) -> float:
    """Return the price of a second of work in USD, billed by request."""
    return cpu * inputs()["request_cpu_second"] + memory * inputs()["request_memory_second"]


def storage_price(segments: float) -> float:
    """Return the price of the storage requests of this number of segments in USD."""
    table = inputs()
    writes = table["requests_a_segment_write"] + table["requests_a_segment_list"]
    return segments * (
        writes * table["write_request"] + table["requests_a_segment_read"] * table["read_request"]
    )


def minute_price(kind: Kind, size: FrameSize, segment_seconds: float) -> float:
    """Return the price of a minute of video in USD on workers that are never idle, with the storage requests."""
    worker = 60 * work(kind, size, segment_seconds) * second_price(kind)
    return worker + storage_price(60 / segment_seconds)
