"""How long a worker takes for a second of video, and what that costs: the measured CPU, the assumed GPU."""

from dataclasses import dataclass
from typing import Literal

from infra.capacity.inputs import inputs

Kind = Literal["cpu", "gpu"]
Step = Literal["detect", "redact"]
STEPS: tuple[Step, Step] = ("detect", "redact")


@dataclass(frozen=True)
class Size:
    """A size of picture."""

    name: str
    width: int
    height: int

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6


SIZES = (Size("720p", 1280, 720), Size("1080p", 1920, 1080), Size("4K", 3840, 2160))


@dataclass(frozen=True)
class Stages:
    """Milliseconds of two cores for a frame, by stage."""

    networks: float
    decode: float
    scale: float
    conceal: float
    encode: float


def stages(size: Size) -> Stages:
    """What was measured at 720p and at 4K, and the line between them for what grows with the picture.

    The networks look at small frames: they take the same at every size.
    """
    table, small, large = inputs(), SIZES[0], SIZES[-1]
    at_small = 1000 * table["seconds_720p"] / table["frames_measured"]
    slope = (table["frame_ms_4k"] - at_small) / (large.megapixels - small.megapixels)
    networks = table["network_share"] * at_small
    rest = at_small + slope * (size.megapixels - small.megapixels) - networks
    shares = table["decode_share"], table["redact_share"], table["encode_share"]
    decode, conceal, encode = (rest * share / (1 - table["network_share"]) for share in shares)
    return Stages(networks, decode, rest - decode - conceal - encode, conceal, encode)


def seconds_per_video_second(kind: Kind, step: Step, size: Size) -> float:
    """How long one instance works for a second of video in one step, without what a segment costs by itself."""
    table, one = inputs(), stages(size)
    networks, codecs, rest = (
        (table["gpu_networks"], table["gpu_codecs"], table["gpu_rest"]) if kind == "gpu" else (1.0, 1.0, 1.0)
    )
    milliseconds = one.decode / 2 / codecs
    if step == "detect":
        milliseconds += one.networks / networks + one.scale / rest
    else:
        milliseconds += one.conceal / rest + one.encode / codecs
    return milliseconds / 1000 * table["frame_rate"]


def work(kind: Kind, size: Size, segment_seconds: float) -> float:
    """Both steps for a second of video, in segments of that length."""
    overhead = 2 * inputs()["segment_overhead_seconds"] / segment_seconds
    return overhead + sum(seconds_per_video_second(kind, step, size) for step in STEPS)


def second_price(kind: Kind) -> float:
    """USD for a second of a worker: of its life for one with a GPU, of its work for one without.

    Cloud Run bills instances with a GPU for as long as they live. Others may be billed by request: a third more a
    second, and nothing while they linger.
    """
    table = inputs()
    cpu, memory = (table[f"{kind}_worker_{part}"] for part in ("cpu", "memory"))
    if kind == "cpu":
        return small_price(cpu, memory)
    return cpu * table["cpu_second"] + memory * table["memory_second"] + table["gpu_second"]


def small_price(cpu: float, memory: float) -> float:
    """USD for a second of work, billed by request."""
    return cpu * inputs()["request_cpu_second"] + memory * inputs()["request_memory_second"]


def storage_price(segments: float) -> float:
    """USD for the storage requests of so many segments."""
    table = inputs()
    writes = table["requests_a_segment_write"] + table["requests_a_segment_list"]
    return segments * (
        writes * table["write_request"] + table["requests_a_segment_read"] * table["read_request"]
    )


def minute_price(kind: Kind, size: Size, segment_seconds: float) -> float:
    """USD for a minute of video on workers that never idle: their time, and the storage requests."""
    worker = 60 * work(kind, size, segment_seconds) * second_price(kind)
    return worker + storage_price(60 / segment_seconds)
