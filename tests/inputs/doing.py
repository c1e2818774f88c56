"""A file through the engine in several segments, step by step as the functions of the pipeline do it."""

from pathlib import Path

from defacer.engine.deface import Engine
from defacer.engine.faces import Faces
from defacer.engine.hide import hide
from defacer.engine.join import Joined, SegmentFile, join_files
from defacer.engine.link import link
from defacer.engine.options import Options
from defacer.engine.video import Segment, probe
from defacer.ingest.plan import plan_segments


def deface(engine: Engine, source: Path, out: Path, options: Options, seconds: float) -> tuple[Faces, Joined]:
    """Hide everyone. Raises EngineError for a file that is refused."""
    ranges = plan_segments(probe(str(source)), seconds)
    parts = [Segment(str(source), part.start, part.end) for part in ranges]
    faces = link([engine.find(part, None, options) for part in parts], None, options)
    files = []
    for number, part in enumerate(parts):
        path = str(out.parent / f"{number}.nut")
        files.append(SegmentFile.at(path, hide(part, faces, path, options)))
    return faces, join_files(str(source), files, out)
