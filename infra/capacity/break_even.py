"""When an L4 costs less than CPU workers, as a condition on the speed of its networks, which was never measured.

Of a minute of video, let N be the seconds of the networks on two cores, R those of all other work, and O those of the
calls to storage. An L4 instance costs r times as much per second, does the other work `gpu_rest` times as fast, and the
networks g times as fast. It pays if N / g + R / gpu_rest + O < (N + R + O) / r.
"""

from dataclasses import dataclass

from infra.capacity.inputs import inputs
from infra.capacity.speed import FrameSize, Step, second_price, seconds_per_video_second, stages_of
from infra.capacity.uploads import default_settings


def price_ratio() -> float:
    """Return how many times as much an L4 instance costs per second as a CPU worker."""
    return second_price("gpu") / second_price("cpu")


@dataclass(frozen=True)
class BreakEven:
    """Seconds per minute of video: on a CPU worker, and on an L4 whose networks take no time.

    `networks` are those of the networks on a CPU worker. With `is_overlapped` several segments are in flight, so that
    the networks run beside the other work, and no core waits for storage.
    """

    networks: float
    cpu: float
    least: float
    is_overlapped: bool

    @property
    def allowed(self) -> float:
        """The seconds that an L4 can take to cost as much as the CPU worker."""
        return self.cpu / price_ratio()

    @property
    def speed(self) -> float | None:
        """How many times as fast as two cores the networks have to be. None if no speed is enough."""
        if self.least >= self.allowed:
            return None
        return self.networks / (self.allowed if self.is_overlapped else self.allowed - self.least)

    @property
    def saving(self) -> float:
        """The largest saving per minute of video in USD."""
        return max(0.0, self.cpu * second_price("cpu") - self.least * second_price("gpu"))


def break_even(size: FrameSize, *steps: Step, is_overlapped: bool = False) -> BreakEven:
    """Return the break-even point of an L4 that does these steps."""
    networks = 60 * inputs()["frame_rate"] * stages_of(size).networks / 1000 if "detect" in steps else 0.0
    work = 60 * sum(seconds_per_video_second("cpu", step, size) for step in steps)
    calls = 60 * len(steps) * inputs()["segment_overhead_seconds"] / default_settings().segment_seconds
    rest = (work - networks) / inputs()["gpu_rest"]
    return BreakEven(networks, work + calls, rest if is_overlapped else rest + calls, is_overlapped)
