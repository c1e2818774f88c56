"""Redact files on this machine, or render one again with other decisions: the Python API and `defacer run`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from defacer.engine.engine import Engine
from defacer.engine.errors import ArgumentError, CheckError
from defacer.engine.file_report import Report
from defacer.engine.media.joiner import fingerprint_of
from defacer.engine.media.reader import Segment, probe
from defacer.engine.models import weights
from defacer.engine.option_check import check_options
from defacer.engine.options import Options
from defacer.engine.output_paths import check_outputs
from defacer.engine.recognition.gallery import Gallery, Picture, TargetFace
from defacer.engine.recognition.target_files import find_people
from defacer.engine.rendering.render_file import render
from defacer.engine.tracking.linking import link_faces
from defacer.engine.tracking.report_edit import with_decisions
from defacer.report.faces import Faces
from defacer.report.tracks import Decision

# Called with the stage, the number of processed frames, and the number of all frames if it is known.
StageCallback = Callable[[str, int, int | None], None]
DETECTING, REDACTING = "detecting faces", "redacting faces"


@dataclass
class FileRedactor:
    """Redacts files with the same options and targets. The target pictures are embedded once, with the first file.

    A result replaces an existing file only with `force`.
    """

    options: Options = field(default_factory=Options)
    pictures: Sequence[Picture] = ()
    faces: Sequence[TargetFace] = ()
    replacement: bytes | None = None
    force: bool = False
    _gallery: Gallery | None = field(default=None, init=False)

    def redact(self, video: Path, out: Path, progress: StageCallback = lambda *_: None) -> Report:
        """Write the MP4 `out`, which appears when it is complete. Raise EngineError if that is impossible."""
        check_options(self.options, has_replacement=self.replacement is not None)
        faces = self._find(video, progress)  # frees the models before the video is written
        return _render(video, faces, self.options, self.replacement, out, progress, force=self.force)

    def _find(self, video: Path, progress: StageCallback) -> Faces:
        frames = _frame_count(video)
        weights.fetch_all(progress=lambda line: progress(line, 0, None))
        engine = Engine()
        if (self.pictures or self.faces) and self._gallery is None:
            self._gallery = engine.gallery(self.pictures, self.options.recognizer, faces=self.faces)
        detections = engine.detect_subsegments(
            Segment(_path_of(video)),
            self._gallery,
            self.options,
            lambda done: progress(DETECTING, done, frames),
        )
        return link_faces(detections, self._gallery, self.options)


def redact(
    video: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    keep: Sequence[str | PathLike[str]] = (),
    options: Options | None = None,
    replacement: str | PathLike[str] | None = None,
    force: bool = False,
    progress: StageCallback = lambda *_: None,
) -> Report:
    """Hide every face in a video except those of the people `keep`, and return the report.

    Each of `keep` is a picture of a person, or a folder with pictures of one person.
    The result is the MP4 `out`, or `NAME.defaced.mp4` beside the video. It appears when it is complete, and replaces
    an existing file only with `force`. `replacement` is the picture for mode image. `progress` is called with the
    stage, the number of processed frames, and the number of all frames or None. Raises EngineError.
    """
    source = Path(video)
    result = default_out(source) if out is None else Path(out)
    cover = None if replacement is None else Path(replacement)
    people = find_people([Path(path) for path in keep])
    check_files([source, *(file.path for file in people), *filter(None, [cover])], [result], force=force)
    redactor = FileRedactor(
        options or Options(),
        [file.read() for file in people],
        replacement=None if cover is None else cover.read_bytes(),
        force=force,
    )
    return redactor.redact(source, result, progress)


def render_again(
    video: Path,
    report: Report,
    out: Path,
    decisions: dict[int, Decision],
    replacement: bytes | None = None,
    progress: StageCallback = lambda *_: None,
    *,
    force: bool = False,
) -> Report:
    """Write the video with other decisions for these tracks. The detector does not run again.

    `report.options` are the options of the result. Raises CheckError if the report is about another video, and
    EngineError for a track that it does not have.
    """
    check_options(report.options, has_replacement=replacement is not None)
    if fingerprint_of(_path_of(video)) != report.fingerprint:
        raise CheckError(f"{video} is not the video that the report is about. Name the original video.")
    document = with_decisions(report.faces.to_bytes(), decisions, None).document
    return _render(video, Faces.from_bytes(document), report.options, replacement, out, progress, force=force)


def default_out(video: Path) -> Path:
    """Return the path of a result without a name of its own: `NAME.defaced.mp4` beside the video."""
    return video.with_name(f"{video.stem}.defaced.mp4")


def check_files(reads: Sequence[Path], writes: Sequence[Path], *, force: bool) -> None:
    """Raise ArgumentError if an input does not exist or an output can't be written. The first output is an MP4."""
    for path in reads:
        if not path.is_file():
            raise ArgumentError(f"{path} does not exist. Name an existing file.")
    check_outputs(writes, reads, force=force)
    if writes and writes[0].suffix.lower() != ".mp4":
        name = writes[0].with_suffix(".mp4")
        raise ArgumentError(f"the output is an MP4. Name it {name}, not {writes[0].name}.")


def _render(
    video: Path,
    faces: Faces,
    options: Options,
    replacement: bytes | None,
    out: Path,
    progress: StageCallback,
    *,
    force: bool,
) -> Report:
    if options.verify != "off":
        weights.yunet()
    rendered = render(
        _path_of(video),
        faces,
        options,
        replacement,
        out.absolute(),
        lambda done: progress(REDACTING, done, faces.frames),
        force=force,
    )
    checked = rendered.checked
    return Report(
        rendered.faces,
        options,
        rendered.joined.fingerprint,
        rendered.black_frames,
        tuple(rendered.joined.dropped),
        None if checked is None else checked.to_json(),
    )


def _frame_count(video: Path) -> int | None:
    info = probe(_path_of(video))
    return round((info.duration_seconds or 0) * (info.frame_rate or 0)) or None


def _path_of(video: Path) -> str:
    """Return the absolute path, because FFmpeg takes a name such as `12:30.mp4` for an address."""
    return str(video.absolute())
