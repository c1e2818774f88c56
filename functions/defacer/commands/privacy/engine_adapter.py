"""Where privacy meets the engine: a published video, rendered again from its report, and checked. Needs no torch."""

from pathlib import Path

from defacer.engine.errors import CheckError, EngineError
from defacer.engine.media.joiner import fingerprint_of
from defacer.engine.options import Options
from defacer.engine.rendering.render_file import render
from defacer.engine.tracking.face_report import Faces as EngineFaces
from defacer.pipeline.documents.report import Faces, Report, ResultCheck
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.storage.ranged_reader import open_ranged


def render_again(report: Report, replacement: bytes | None, out: Path) -> Report:
    """Write the MP4 `out` from the report's source, with the report's decisions. Return the report of the new result.

    Raises PermanentError if the source is gone, is not the report's, or can't be done.
    """
    name = f"gs://{report.source.bucket}/{report.source.name}"
    with open_ranged(report.source) as source:
        try:
            if fingerprint_of(source) != report.fingerprint:
                raise CheckError("it is not the video that the report is about.")
            faces = EngineFaces.from_json(report.faces.model_dump())
            rendered = render(source, faces, Options(**report.policy.for_engine()), replacement, out)
        except EngineError as error:
            raise PermanentError(error.code, f"{name}: {error}") from error
    checked = rendered.checked and ResultCheck.model_validate(rendered.checked.to_json())
    faces_found = Faces.model_validate(rendered.faces.to_json())
    return report.model_copy(update={"faces": faces_found, "checked": checked})
