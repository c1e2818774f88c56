"""An end to what merge never gets done in the time that one delivery has."""

from defacer.pipeline import layout
from defacer.pipeline.claim import Hold
from defacer.pipeline.contracts import Manifest
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings


def stop_what_is_slow(manifest: Manifest, held: Hold, doing: str) -> None:
    """End a job for which one merge after another ran out of time, as their claim says. `doing`: "joining it"."""
    allowed, source = settings().late_attempts, manifest.source
    if held.late >= allowed:
        raise PermanentError(
            "too-slow",
            f"{layout.owner_name(source.name)} was not published: {doing} was not done in "
            f"{settings().deadline_seconds:g} s, in {allowed} tries. Cut it into parts.",
        )
