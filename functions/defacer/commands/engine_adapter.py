"""Re-render a published video from its report on this machine, for the commands. It needs no PyTorch."""

from pathlib import Path

from defacer.engine.errors import CheckError, EngineError
from defacer.engine.media.joiner import fingerprint_of
from defacer.engine.options import Options
from defacer.engine.rendering.render_file import render_video
from defacer.pipeline.documents.report import JobReport, ResultCheck
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.media_engine import MediaEngine
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.report.faces import Faces


class RerenderEngine(MediaEngine):
    """`MediaEngine.rerender` on this machine."""

    def rerender(self, report: JobReport, replacement: bytes | None, out: Path) -> JobReport:
        """Write the MP4 `out`. Raises PermanentError if the source was deleted, or is not the report's."""
        name = f"gs://{report.source.bucket}/{report.source.name}"
        with open_ranged(report.source) as source:
            try:
                if fingerprint_of(source) != report.fingerprint:
                    raise CheckError("the report is about another video.")
                faces = Faces.from_head(report.faces, report.tracks)
                options = Options(**report.policy.for_engine())
                rendered = render_video(source, faces, options, replacement, out)
            except EngineError as error:
                raise PermanentError(error.code, f"{name}: {error}") from error
        checked = rendered.checked and ResultCheck.model_validate(rendered.checked.to_json())
        return report.model_copy(update={"tracks": rendered.faces.tracks, "checked": checked})
