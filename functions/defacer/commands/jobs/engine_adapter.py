"""The engine of `defacer job rerender`: it reads the source of a published video on this machine."""

from collections.abc import Mapping
from pathlib import Path

from defacer.commands.common.terminal import Terminal
from defacer.commands.corrections import import_file
from defacer.engine.manual_corrections import Corrections
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.options import Options
from defacer.engine.render_file import StageCallback
from defacer.engine.tracking.report_edit import with_edits
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.lifecycle.rerender_request import pending
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.report.edits import AddedTrack, Edits
from defacer.report.faces import Faces
from defacer.report.tracks import Decision


def find_tracks(report: JobReport, corrections: Corrections, progress: StageCallback) -> list[AddedTrack]:
    """Return the tracks that the corrections add to a job's report. The source is read in ranged requests."""
    faces = Faces.from_head(report.faces, report.tracks)
    with open_ranged(report.source) as file:
        source = ClockedSource(file, report.clock)
        return corrections.find_tracks(source, faces, Options(**report.policy.for_engine()), progress)


def import_tracks(
    report: JobReport,
    file: Path,
    decisions: Mapping[int, Decision],
    terminal: Terminal,
    *,
    allow_uncover: bool,
) -> Edits:
    """Return the edits that a file of tracks makes to a job's report after its pending edits, with these decisions.

    The source is read in ranged requests.
    """
    published = Faces.from_head(report.faces, report.tracks).to_bytes()
    faces = Faces.from_bytes(with_edits(published, pending(report.source), None).document)
    with open_ranged(report.source) as video:
        source = ClockedSource(video, report.clock)
        return import_file(
            file, source, faces, report.fingerprint, decisions, terminal, allow_uncover=allow_uncover
        )
