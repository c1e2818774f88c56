"""Redact files on this machine, or render one again after edits: the Python API and `defacer run`."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from defacer.engine.engine import Engine
from defacer.engine.errors import (
    ArgumentError,
    EngineError,
    MissingPackageError,
    PictureError,
    WeightsError,
)
from defacer.engine.file_report import Report
from defacer.engine.manual_corrections import Corrections
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.joiner import fingerprint_of
from defacer.engine.media.pictures.image_decoder import close_idle_decoders
from defacer.engine.media.pictures.still_image import decode_picture
from defacer.engine.media.probe import probe
from defacer.engine.media.reader import Segment, VideoInfo
from defacer.engine.models import weights
from defacer.engine.option_check import check_options
from defacer.engine.options import Options
from defacer.engine.output_paths import check_outputs
from defacer.engine.recognition.gallery import Gallery, Picture, TargetFace
from defacer.engine.recognition.target_files import find_people
from defacer.engine.render_file import REDACTING, StageCallback, render_video
from defacer.engine.runtime.malloc import trim_heap
from defacer.engine.tracking.frame_faces import Ask, choose_face, find_faces_at, parse_moment
from defacer.engine.tracking.linking import link_faces
from defacer.engine.tracking.report_edit import with_edits
from defacer.engine.unchanged_source import unchanged
from defacer.plurals import printable
from defacer.report.edits import AddedTrack, Edits
from defacer.report.faces import Faces

DETECTING = "detecting faces"


@dataclass
class FileRedactor:
    """Redacts files with the same checked options and targets. The pictures are embedded once, with the first file.

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
        with _named_in_errors(video), unchanged(video) as require_unchanged:
            info = probe(_path_of(video), self.options).info
            source = ClockedSource(_path_of(video), info.clock)
            faces = self._find(source, info, progress)
            close_idle_decoders()  # the pictures are read and the models are free before the video is written
            trim_heap()
            return _render(
                source,
                faces,
                self.options,
                self.replacement,
                out,
                progress,
                require_unchanged,
                force=self.force,
            )

    def _find(self, source: ClockedSource, info: VideoInfo, progress: StageCallback) -> Faces:
        frames = _frame_count(info)
        weights.fetch_all(progress=lambda line: progress(line, 0, None))
        engine = Engine()
        if (self.pictures or self.faces) and self._gallery is None:
            self._gallery = engine.gallery(self.pictures, self.options.recognizer, faces=self.faces)
            engine.drop_detectors()
        detections = engine.detect_subsegments(
            Segment(source),
            self._gallery,
            self.options,
            lambda done: progress(DETECTING, done, frames),
        )
        return link_faces(detections, self._gallery, self.options)


def redact(
    video: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    keep: Collection[str | PathLike[str]] = (),
    keep_people: str | PathLike[str] | None = None,
    keep_at: Collection[str | float] = (),
    options: Options | None = None,
    replacement: str | PathLike[str] | None = None,
    force: bool = False,
    progress: StageCallback = lambda *_: None,
) -> Report:
    """Hide every face in a video except those of the people `keep`, and return the report.

    Each of `keep` is a picture of a person, or a folder with pictures of one person. `keep_people` is a folder with
    several people, as `PERSON.jpg` or `PERSON/1.jpg`. `keep_at` are times of the video, such as 12.5 or `0:12.5`: the
    person whose face it shows then is kept. With several faces, `0:12.5#2` is the second from the left.

    The result is the MP4 `out`, or `NAME.defaced.mp4` beside the video. It appears when it is complete, and replaces
    an existing file only with `force`. `replacement` is the picture for mode image. `progress` is called with the
    stage, the number of processed frames, and the number of all frames or None. Raises EngineError.
    """
    source = Path(video)
    result = default_out(source) if out is None else Path(out)
    cover = None if replacement is None else Path(replacement)
    people = find_people([Path(path) for path in keep], None if keep_people is None else Path(keep_people))
    check_files([source, *(file.path for file in people), *filter(None, [cover])], [result], force=force)
    options = options or Options()
    check_options(options, has_replacement=cover is not None)
    redactor = FileRedactor(
        options,
        [file.read() for file in people],
        choose_faces(source, keep_at, options.detector, lambda line: progress(line, 0, None)),
        read_replacement(cover),
        force,
    )
    return redactor.redact(source, result, progress)


def render(  # noqa: PLR0913 - the options of a public function, each by its name
    video: str | PathLike[str],
    report: Report | str | PathLike[str],
    out: str | PathLike[str],
    *,
    keep: Collection[int] = (),
    hide: Collection[int] = (),
    edits: Edits | None = None,
    options: Options | None = None,
    replacement: str | PathLike[str] | None = None,
    force: bool = False,
    progress: StageCallback = lambda *_: None,
) -> Report:
    """Write a video again with other decisions, and return the new report. The detector does not run again.

    `report` is the video's report or its file. `keep` and `hide` are numbers of tracks in it. `edits` are further
    changes (`defacer.report.edits`). `options` replace those of the report. The other arguments are as in `redact`.
    Raises EngineError, also for the report of another video.
    """
    report = report if isinstance(report, Report) else Report.read(report)
    source, result, options = Path(video), Path(out), options or report.options
    cover = None if replacement is None else Path(replacement)
    if both := set(hide) & set(keep):
        raise ArgumentError(f"Track {min(both)} can't be hidden and kept at once. Choose one of the two.")
    check_files([source, *filter(None, [cover])], [result], force=force)
    check_options(options, has_replacement=cover is not None)
    decided = Edits(decisions={**dict.fromkeys(hide, "hide"), **dict.fromkeys(keep, "keep")})
    edits = decided if edits is None else edits.merge(decided)
    picture = read_replacement(cover)
    with _named_in_errors(source), unchanged(source) as require_unchanged:
        clocked = ClockedSource(_path_of(source), report.clock)
        if fingerprint_of(clocked) != report.fingerprint:
            raise _other_video(source)
        faces = Faces.from_bytes(with_edits(report.faces.to_bytes(), edits, None).document)
        return _render(clocked, faces, options, picture, result, progress, require_unchanged, force=force)


def find_tracks(
    video: Path, report: Report, corrections: Corrections, progress: StageCallback = lambda *_: None
) -> list[AddedTrack]:
    """Return the tracks that these corrections add to the report of a video, for `Edits.added`.

    Raises ArgumentError if the report is about another video, and the errors of `Corrections.find_tracks`.
    """
    require_own_report(video, report)
    source = ClockedSource(_path_of(video), report.clock)
    return corrections.find_tracks(source, report.faces, report.options, progress)


def choose_faces(
    video: Path,
    moments: Collection[str | float],
    detector: str,
    say: Callable[[str], None],
    ask: Ask | None = None,
) -> list[TargetFace]:
    """Return the faces that the video shows at these times. Say the place of each, so that users detect a wrong one.

    Of several faces at a time without a number, `ask` chooses. Without `ask`, they raise PictureError.
    """
    times = [parse_moment(str(moment)) for moment in moments]
    if not times:
        return []
    weights.fetch_all(progress=say)
    engine, targets = Engine(), []
    with _named_in_errors(video):
        for time in times:
            found = find_faces_at(_path_of(video), time.seconds, engine.detector(detector), engine.checker())
            targets.append(choose_face(time, found, ask))
            say(f"{targets[-1].label} is kept: {found.describe(targets[-1].face)}")
    return targets


@contextmanager
def _named_in_errors(video: Path) -> Iterator[None]:
    """Begin the errors about the video with its name. Their messages call it "it"."""
    try:
        yield
    except (ArgumentError, MissingPackageError, PictureError, WeightsError):
        raise
    except EngineError as error:
        raise type(error)(f"{printable(str(video))}: {error}") from error


def require_own_report(video: Path, report: Report) -> None:
    """Raise ArgumentError if the report is about another video."""
    if fingerprint_of(ClockedSource(_path_of(video), report.clock)) != report.fingerprint:
        raise _other_video(video)


def _other_video(video: Path) -> ArgumentError:
    return ArgumentError(f"{video} is not the video that the report is about. Name the original video.")


def read_replacement(path: Path | None) -> bytes | None:
    """Return the picture for mode image. Raise PictureError unless it can be decoded, before the work begins."""
    if path is None:
        return None
    data = path.read_bytes()
    decode_picture(data, f"The replacement picture {printable(str(path))}", alpha=True)
    return data


def default_out(video: Path) -> Path:
    """Return the path of a result without a name of its own: `NAME.defaced.mp4` beside the video."""
    return video.with_name(f"{video.stem}.defaced.mp4")


def check_files(
    reads: Sequence[Path],
    writes: Sequence[Path],
    *,
    force: bool,
    option: str = "--force",
    new_folders: Collection[Path] = (),
) -> None:
    """Raise ArgumentError if an input does not exist or an output can't be written. The first output is an MP4.

    `option` and `new_folders` are as in `check_outputs`.
    """
    for path in reads:
        if path.is_dir():
            raise ArgumentError(f"{path} is a folder. Name a file.")
        if not path.exists():
            raise ArgumentError(f"{path} does not exist. Name an existing file.")
    check_outputs(writes, reads, force=force, option=option, new_folders=new_folders)
    if writes and writes[0].suffix.lower() != ".mp4":
        name = writes[0].with_suffix(".mp4")
        raise ArgumentError(f"The output is an MP4. Name it {name}, not {writes[0].name}.")


def _render(
    source: ClockedSource,
    faces: Faces,
    options: Options,
    replacement: bytes | None,
    out: Path,
    progress: StageCallback,
    require_unchanged: Callable[[], None],
    *,
    force: bool,
) -> Report:
    if options.verify != "off":
        weights.yunet()
    progress(REDACTING, 0, faces.frames)
    rendered = render_video(
        source, faces, options, replacement, out.absolute(), progress, require_unchanged, force=force
    )
    checked = rendered.checked
    return Report(
        rendered.faces,
        options,
        rendered.joined.fingerprint,
        rendered.black_frames,
        rendered.joined.dropped,
        None if checked is None else checked.to_json(),
        rendered.joined.changes,
        source.clock,
        rendered.copied_frames,
    )


def _frame_count(info: VideoInfo) -> int | None:
    return round((info.duration_seconds or 0) * (info.frame_rate or 0)) or None


def _path_of(video: Path) -> str:
    """Return the absolute path, because FFmpeg takes a name such as `12:30.mp4` for an address."""
    return str(video.absolute())
