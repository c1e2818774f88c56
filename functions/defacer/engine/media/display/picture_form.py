"""Read all frames of a video in one form, as a player with a fixed window shows them.

A picture can change its size, its proportions, its rotation or its pixel format in the middle: in a call, on
television, or in a screen recording. All frames get the form of the first frame. A frame of other proportions is scaled
to fit, and
has black bars. Pixels outside of the container's crop are removed.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import av
from av.video.reformatter import VideoReformatter

from defacer.engine.media.display.matroska_crop import Crop
from defacer.engine.media.display.projection import Projection
from defacer.engine.media.display.side_data import VIEW_ID, side_data_of
from defacer.engine.media.orientation import Matrix, Orientation, matrix_from, matrix_of, orientation_from
from defacer.report.changes import ChangeCode, SourceChange

UNSPECIFIED = 2  # of color matrices (ITU-T H.273)
MATRIX_NAMES = {1: "bt709", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"}
CONVERTIBLE_MATRICES = (
    0,
    1,
    2,
    4,
    5,
    6,
    7,
    9,
)  # FFmpeg's scaler raises an error for others, such as YCgCo (8)
RANGE_NAMES = {1: "limited", 2: "full"}
SMALL = (16, 16)  # pixels


@dataclass(frozen=True)
class PictureForm:
    """The form of a video's frames: their stored size without `crop`, format, colors, pixel aspect ratio and matrix.

    With `is_turned_by_frames` each frame states its own matrix, as photos do. Otherwise the container's is that of all
    frames: common players do not apply a rotation that messages of H.264 or HEVC state (`has_other_matrix`).
    """

    width: int
    height: int
    pixel_format: str
    pixel_shape: Fraction | None
    color_matrix: int
    color_range: int
    matrix: Matrix
    is_turned_by_frames: bool
    has_other_matrix: bool
    crop: Crop
    projection: Projection
    has_second_view: bool

    @classmethod
    def of_first(
        cls, frame: av.VideoFrame, pixel_shape: Fraction | None, crop: Crop, is_turned_by_frames: bool
    ) -> "PictureForm":
        """Return the form of a video that begins with this frame. Do not use the frame's side data afterwards."""
        crop = _aligned(crop, frame)
        width, height = frame.width - crop.left - crop.right, frame.height - crop.top - crop.bottom
        side_data = side_data_of(frame)
        return cls(
            width, height, frame.format.name, pixel_shape or None, int(frame.colorspace), int(frame.color_range),
            matrix_from(side_data), is_turned_by_frames, False, crop, Projection.of(side_data), VIEW_ID in side_data,
        )  # fmt: skip

    def with_matrix(self, matrix: Matrix) -> "PictureForm":
        """Return this form with the container's matrix."""
        return replace(self, matrix=matrix, has_other_matrix=matrix != self.matrix)

    @property
    def changes(self) -> tuple[SourceChange, ...]:
        """Return what the result does not have of this form."""
        lost = ["second view of a spatial video"] if self.has_second_view else []
        lost += ["rotation that most players do not apply"] if self.has_other_matrix else []
        views = [SourceChange(ChangeCode.DROPPED_PICTURE, text) for text in lost]
        return (*views, *self.projection.losses())

    @property
    def orientation(self) -> Orientation:
        """Return how these frames are displayed. Raises VideoError for a rotation by other than right angles."""
        return orientation_from(self.matrix, self.pixel_shape)


def _aligned(crop: Crop, frame: av.VideoFrame) -> Crop:
    """Return the crop, enlarged onto the grid of the chroma samples; none if it would leave nothing."""
    if crop == Crop():
        return crop
    across, down = 64 // frame.format.chroma_width(64), 64 // frame.format.chroma_height(64)
    left, top = crop.left + -crop.left % across, crop.top + -crop.top % down
    right = crop.right + (frame.width - left - crop.right) % across
    bottom = crop.bottom + (frame.height - top - crop.bottom) % down
    fits = left + right < frame.width and top + bottom < frame.height
    return Crop(left, top, right, bottom) if fits else Crop()


@dataclass(frozen=True)
class _Given:
    """The form of one decoded frame."""

    width: int
    height: int
    pixel_format: str
    matrix: Matrix
    pixel_shape: Fraction | None


class FormConverter:
    """Converts frames to one form. A frame that has it already is returned as it is.

    `first_fitted` is the time of the first frame whose size, proportions, rotation or format was another one.
    """

    def __init__(self, form: PictureForm):
        self.first_fitted: int | None = None
        self._form = form
        crop = form.crop
        self._usual = _Given(
            form.width + crop.left + crop.right, form.height + crop.top + crop.bottom,
            form.pixel_format, form.matrix, form.pixel_shape,
        )  # fmt: skip
        self._reducer = VideoReformatter()
        self._given: _Given | None = None
        self._graph: av.filter.Graph | None = None

    def convert(self, frame: av.VideoFrame, pixel_shape: Fraction | None = None) -> av.VideoFrame:
        """Return the frame in the form. `pixel_shape` is None if the container states one for the whole video."""
        if int(frame.colorspace) not in CONVERTIBLE_MATRICES:
            frame.colorspace = UNSPECIFIED  # the encoder states the matrix of the first frame
        given = _Given(
            frame.width, frame.height, frame.format.name, self._matrix_of(frame), pixel_shape or self._form.pixel_shape
        )  # fmt: skip
        if given == self._usual and self._form.crop == Crop():
            return frame
        if given != self._usual and self.first_fitted is None:
            self.first_fitted = frame.pts
        if given != self._given or self._graph is None:
            self._given, self._graph = given, self._make_graph(frame, given)
        self._graph.vpush(frame)
        converted = self._graph.vpull()
        converted.pts, converted.time_base = frame.pts, frame.time_base
        return converted

    def _matrix_of(self, frame: av.VideoFrame) -> Matrix:
        """Return the matrix of a frame, read from a small copy: side data keeps its frame in memory."""
        if not self._form.is_turned_by_frames:
            return self._form.matrix
        small = self._reducer.reformat(frame, *SMALL, "gray", interpolation="POINT", threads=1)
        return matrix_of(small)

    def _make_graph(self, frame: av.VideoFrame, given: _Given) -> av.filter.Graph:
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        filters = [graph.add(name, arguments) for name, arguments in self._filters(frame, given)]
        graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
        return graph

    def _filters(self, frame: av.VideoFrame, given: _Given) -> list[tuple[str, str]]:
        """Return names and arguments of FFmpeg's filters."""
        form, crop = self._form, self._form.crop
        width, height = given.width, given.height
        filters = []
        if (width, height) == (self._usual.width, self._usual.height):
            width, height = form.width, form.height
            filters.append(("crop", f"{width}:{height}:{crop.left}:{crop.top}"))
        shape = given.pixel_shape or Fraction(1)
        if given.matrix != form.matrix:
            turn = orientation_from(given.matrix).relative_to(form.orientation)
            filters += _turn_filters(turn)
            if turn.is_transposed:
                width, height, shape = height, width, 1 / shape
        fitted = _fit(Fraction(width) * shape / (form.pixel_shape or 1), height, form.width, form.height)
        if fitted != (width, height) or given.pixel_format != form.pixel_format:
            filters.append(("scale", _scale_arguments(frame, form, fitted)))
        if fitted != (form.width, form.height):
            filters.append(("pad", f"{form.width}:{form.height}:-1:-1"))
        return [*filters, ("format", form.pixel_format)]


def _fit(width: Fraction, height: int, max_width: int, max_height: int) -> tuple[int, int]:
    """Return the largest even size of these proportions. A difference of a pixel leads to no bar."""
    scale = min(max_width / width, Fraction(max_height, height))
    return _round_side(width * scale, max_width), _round_side(height * scale, max_height)


def _round_side(side: Fraction, limit: int) -> int:
    return limit if abs(limit - side) < 2 else max(2, round(side / 2) * 2)


def _turn_filters(turn: Orientation) -> list[tuple[str, str]]:
    across, down = (turn.c, turn.b) if turn.is_transposed else (turn.a, turn.d)
    filters = [("transpose", "cclock_flip")] if turn.is_transposed else []
    return filters + [(name, "") for name, sign in (("hflip", across), ("vflip", down)) if sign < 0]


def _scale_arguments(frame: av.VideoFrame, form: PictureForm, size: tuple[int, int]) -> str:
    parts = [f"{size[0]}:{size[1]}", "flags=bicubic", "interl=-1"]
    if form.color_matrix in MATRIX_NAMES and int(frame.colorspace) not in (UNSPECIFIED, form.color_matrix):
        parts.append(f"out_color_matrix={MATRIX_NAMES[form.color_matrix]}")
    if form.color_range in RANGE_NAMES:
        parts.append(f"out_range={RANGE_NAMES[form.color_range]}")
    return ":".join(parts)
