"""Refuse sound with implausible gaps, because converted sound is encoded through them."""

from fractions import Fraction

from defacer.engine.errors import SoundError

MIN_GAP_SECONDS = 1
MAX_EXTRA_SECONDS = 600  # of the gaps, over the duration of the picture


class SoundGaps:
    """The sum of the long gaps in each sound track. The time between two restarts of the clock is not a gap."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], Fraction] = {}
        self._sums: dict[int, Fraction] = {}

    def add(self, track: int, restarts: int, time: Fraction) -> None:
        """Add the next packet of a track, at `time` seconds."""
        gap = time - self._last.get((track, restarts), time)
        self._last[track, restarts] = time
        if gap > MIN_GAP_SECONDS:
            self._sums[track] = self._sums.get(track, Fraction(0)) + gap

    def require_plausible(self, picture_seconds: float) -> None:
        """Raise SoundError if the gaps of a track are much longer than the picture."""
        longest = float(max(self._sums.values(), default=0))
        if longest > picture_seconds + MAX_EXTRA_SECONDS:
            raise SoundError(
                f"its sound has gaps of {longest:.0f} s, its picture lasts {picture_seconds:.0f} s. "
                "Export the video again."
            )
