"""Estimate a job's progress and remaining time from its finished segments. The console and the emulator show both."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

# Shares of a job's work. tests/benchmarks/README.md has the seconds of each stage: 32.3 for half of the decoding,
# scaling, detection and embeddings, 20.7 for half of the decoding, redaction and encoding, 0.2 for joining.
DETECT_SHARE, REDACT_SHARE, JOIN_SHARE = 0.60, 0.39, 0.01
LONGER = "It takes longer than estimated."
WAITING = "It waits for a free worker."
NEW_ESTIMATE = "The time left is estimated again when the first segment is done."
# A worker renews its lease every 30 s. Between two segments, no lease exists for a moment.
LEASE, PAUSE = timedelta(seconds=90), timedelta(seconds=15)


@dataclass(frozen=True)
class Span:
    """When the work on a segment began and ended."""

    began: datetime
    ended: datetime


@dataclass(frozen=True)
class JobProgress:
    """`share` is done of 1. `note` is the reason if the time left is unknown, or later than before."""

    share: float
    seconds_left: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class Estimate:
    """When the job will be done, and whether that is later than estimated before."""

    end: datetime
    is_later: bool


def share_of(detected: int, redacted: int, segments: int, *, is_rerender: bool) -> float:
    """Return how much of the work is done. A re-render has no step "detect"."""
    if not segments:
        return 0.0
    if is_rerender:
        return REDACT_SHARE / (REDACT_SHARE + JOIN_SHARE) * redacted / segments
    return DETECT_SHARE * detected / segments + REDACT_SHARE * redacted / segments


def estimate(done: Sequence[Span], segments: int, rest: float) -> Estimate | None:
    """Return when the job will be done; None before the first segment is.

    `done` are the segments that the current step is done with, `rest` is the work after this step, in units of this
    step. Every finished segment yields an estimate by the pace until then. While workers finish several segments at
    about the same time, all but the last of these estimates are too late. So the earliest one
    counts, until it has passed.
    """
    if not done:
        return None
    began = min(span.began for span in done)
    end: datetime | None = None
    is_later = False
    for count, ended in enumerate(sorted(span.ended for span in done), start=1):
        guess = ended + (ended - began) / count * (segments * (1 + rest) - count)
        if end is not None and ended > end:
            end, is_later = guess, True
        else:
            end = guess if end is None else min(end, guess)
    return Estimate(end, is_later) if end else None
