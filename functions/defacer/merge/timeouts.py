"""An end to what merge never gets done in the time that one delivery has."""

from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle.lease import HeldLease
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names


def fail_if_timeouts_exhausted(manifest: Manifest, held: HeldLease, doing: str) -> None:
    """End a job for which one merge after another ran out of time, as their claim says. `doing`: "joining it"."""
    allowed, source = settings().max_timeouts, manifest.source
    if held.timeouts >= allowed:
        raise PermanentError(
            ErrorCode.TOO_SLOW,
            f"{object_names.owner_name(source.name)} was not published: {doing} was not done in "
            f"{settings().deadline_seconds:g} s, in {allowed} tries. Cut it into parts.",
        )
