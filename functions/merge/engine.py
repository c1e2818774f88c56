"""Where merge meets the engine: what goes in, what comes out, and what its errors mean. Imports no torch."""

from functions.engine import join as engine_join
from functions.engine import link as engine_link
from functions.engine.errors import CheckError, EngineError, OutputError, VideoError
from functions.engine.findings import Findings
from functions.engine.gallery import Gallery
from functions.engine.options import Options
from functions.merge.finish import Joined, Parts
from functions.merge.link import Found
from functions.pipeline.contracts import Faces
from functions.pipeline.errors import PermanentError, RetryableError
from functions.pipeline.ranged import open_ranged


def link_faces(found: Found) -> Faces:
    """Have the engine link what was found. Raises PermanentError for findings that do not fit together."""
    manifest = found.manifest
    gallery = Gallery.from_bytes(found.gallery) if found.gallery else None
    options = Options(**manifest.policy.model_dump(exclude={"source"}))
    try:
        faces = engine_link.link(map(Findings.from_bytes, found.findings), gallery, options, found.keep_claim)
    except EngineError as error:
        ref = manifest.source
        raise PermanentError(error.code, f"gs://{ref.bucket}/{ref.name}: {error}") from error
    return Faces.model_validate(faces.to_json())


def join(parts: Parts) -> Joined:
    """Have the engine join the segments. Raises PermanentError if anything does not add up."""
    segments = [
        engine_join.SegmentFile(str(file), report.frames)
        for file, report in zip(parts.files, parts.reports, strict=True)
    ]
    ref = parts.manifest.source
    with open_ranged(ref) as source:
        try:
            joined = engine_join.join(source, segments, str(parts.out), parts.keep_claim)
        except OutputError as error:
            raise RetryableError(str(error)) from error
        except (CheckError, VideoError) as error:
            raise PermanentError(error.code, f"gs://{ref.bucket}/{ref.name}: {error}") from error
    return Joined(joined.frames, joined.audio_packets, joined.fingerprint)
