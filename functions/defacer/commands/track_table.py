"""Print the tracks of a report as a table for a terminal."""

from collections.abc import Iterator
from fractions import Fraction

from defacer.pipeline.documents.report import Report
from defacer.plurals import printable, resemblance
from defacer.report.texts import describe_decision


def track_lines(report: Report) -> Iterator[str]:
    """Yield a table of the tracks, by number: when each is seen, its decision, and how much it looks like a target."""
    yield f"{'TRACK':>5}  {'FROM':>9}  {'TO':>9}  DECISION"
    base = Fraction(report.faces.time_base)
    for track in report.tracks:
        start, end = (float(pts * base) for pts in (track.start, track.end))
        who = f" as {printable(track.person)}" if track.person and track.decision == "keep" else ""
        alike = resemblance(track.distance, track.strangers_per_10000)
        alike = f" ({alike})" if alike else ""
        yield (
            f"{track.id:>5}  {start:>8.2f}s  {end:>8.2f}s  {track.decision}{who}: {describe_decision(track)}{alike}"
        )
