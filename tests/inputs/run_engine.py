"""Run a file through the engine in several segments, with the steps of the pipeline's functions."""

from pathlib import Path

from defacer.engine.engine import Engine
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.joiner import JoinResult, SegmentFile, join_files
from defacer.engine.media.reader import Segment
from defacer.engine.options import Options
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.tracking.linking import link_faces
from defacer.pipeline.segmentation import plan_segments
from defacer.report.faces import Faces
from tests.planned import read_header


def deface(
    engine: Engine, source: Path, out: Path, options: Options, seconds: float
) -> tuple[Faces, JoinResult]:
    """Hide everyone. Raises EngineError for a file that is refused."""
    header = read_header(source, options)
    clocked = ClockedSource(str(source), header.clock)
    ranges = plan_segments(header, seconds)
    parts = [Segment(clocked, part.start, part.end) for part in ranges]
    faces = link_faces([engine.detect_segment(part, None, options) for part in parts], None, options)
    files = []
    for number, part in enumerate(parts):
        path = str(out.parent / f"{number}.nut")
        files.append(SegmentFile.from_path(path, redact_segment(part, faces, path, options)))
    past_damage = options.on_decode_error == "hide"
    return faces, join_files(clocked, files, out, past_damage=past_damage, sound=options.sound)
