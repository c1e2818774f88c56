"""Decide whether groups of pictures of a source can be copied into its result without encoding them.

The result is one H.264 track with two sequences: the source's and the encoder's. Each slice names its parameter sets by
number, so the encoder uses a number that the source does not use, and the header of the MP4 has the sets of both. This
is an "avc1" sample entry with several parameter sets (ISO/IEC 14496-15, 5.3.3.1). README.md has the players that fail
with the alternatives: parameter sets in the packets ("avc3"), and a second sample entry.
"""

from dataclasses import dataclass
from fractions import Fraction

from defacer.engine.errors import CheckError
from defacer.engine.media.clock.clocked_source import Source, clock_of, file_of
from defacer.engine.media.display.matroska_crop import Crop
from defacer.engine.media.display.projection import Projection
from defacer.engine.media.encoding import Encoding
from defacer.engine.media.h264.access_units import NotCopyableError, SourceParameters, is_damaged
from defacer.engine.media.h264.parameter_sets import (
    PICTURE_SET,
    SEQUENCE_SET,
    Colors,
    join_units,
    read_avc_header,
    read_picture_set,
    read_sequence,
    split_units,
)
from defacer.engine.media.mp4.header_check import read_header
from defacer.engine.media.reader import open_video
from defacer.report.clock import Clock

PROFILES = (66, 77, 100)  # Baseline, Main and High
MAX_SETS = 32  # numbers of sequence parameter sets
BLOCK = 16  # pixels: a coded picture has whole blocks, and the rest of the last ones is cropped
LEVEL = 3  # the byte of a sequence parameter set with the level


@dataclass(frozen=True)
class CopiedStream:
    """The parameter sets of a source whose groups can be copied, and the number of those of the encoder."""

    source: SourceParameters
    encoder_number: int

    @property
    def source_header(self) -> bytes:
        """Return the source's parameter sets with start codes."""
        return join_units(self.source.units)

    def shared_header(self, encoder_header: bytes) -> bytes:
        """Return the parameter sets of the encoder and the source with start codes.

        An MP4 states the profile and the level of the first set for all. The encoder's profile includes the source's,
        and its level is raised to the source's. Raises CheckError if the encoder has another number.
        """
        units = split_units(encoder_header)
        sequences = [unit for unit in units if unit[0] & 31 == SEQUENCE_SET]
        others = [unit for unit in units if unit[0] & 31 == PICTURE_SET]
        numbers = [read_sequence(unit).number for unit in sequences]
        numbers += [read_picture_set(unit).number for unit in others]
        if len(sequences) != 1 or set(numbers) != {self.encoder_number}:
            raise CheckError(
                f"the encoder's parameter sets have the numbers {numbers} instead of {self.encoder_number}. "
                "Turn copy_untouched off, and try again."
            )
        first = bytearray(sequences[0])
        first[LEVEL] = max(first[LEVEL], self.source.sequence.level)
        source = self.source.units
        return join_units([bytes(first), source[0], *others, *source[1:]])


def find_copied_stream(source: Source, encoding: Encoding) -> CopiedStream:
    """Return how groups of a source are copied. It depends on the file alone, so all segments have the same.

    Raises NotCopyableError for a source whose groups have to be encoded.
    """
    with open_video(source) as (_, stream):
        codec, header = stream.codec_context.name, stream.codec_context.extradata or b""
    form = encoding.form
    if codec != "h264" or encoding.codec != "libx264":
        raise NotCopyableError(f"its picture is {codec}, only 8-bit H.264 can be copied")
    read = read_avc_header(header)
    mp4 = read_header(file_of(source))
    if mp4 and any(track.kind == b"vide" and track.sample_entries != 1 for track in mp4.tracks):
        raise NotCopyableError("its parameter sets change")
    if read is None:
        raise NotCopyableError("its parameter sets are not in the header of the file")
    if clock_of(source) != Clock():
        raise NotCopyableError("its times are corrected")
    if form.crop != Crop() or form.projection != Projection() or form.has_second_view:
        raise NotCopyableError("its picture is cropped, 3D or spherical")
    length_bytes, units = read
    parameters = _read_sets(length_bytes, units)
    _require_same_picture(parameters, encoding)
    used = {parameters.sequence.number, *(picture.number for picture in parameters.pictures)}
    return CopiedStream(parameters, next(number for number in range(MAX_SETS + 1) if number not in used))


def _read_sets(length_bytes: int, units: list[bytes]) -> SourceParameters:
    if any(map(is_damaged, units)):
        raise NotCopyableError("its header is damaged")
    sequences = [unit for unit in units if unit[0] & 31 == SEQUENCE_SET]
    others = [unit for unit in units if unit[0] & 31 == PICTURE_SET]
    if len(sequences) != 1 or not others or len(sequences) + len(others) != len(units):
        raise NotCopyableError("its header has several sequences")
    sequence, pictures = read_sequence(sequences[0]), tuple(read_picture_set(unit) for unit in others)
    if any(picture.sequence != sequence.number for picture in pictures):
        raise NotCopyableError("its header has several sequences")
    if any(picture.has_hidden_parts for picture in pictures):
        raise NotCopyableError("it can have repeated slices")
    return SourceParameters(length_bytes, (*sequences, *others), sequence, pictures)


def _require_same_picture(parameters: SourceParameters, encoding: Encoding) -> None:
    """Raise NotCopyableError unless a decoder shows copied frames exactly like encoded ones."""
    sequence = parameters.sequence
    left, right, top, bottom = sequence.cropped
    width, height = sequence.coded_size
    if sequence.profile not in PROFILES or sequence.chroma != 1 or sequence.is_deep or sequence.has_fields:
        raise NotCopyableError("its picture is not progressive 4:2:0 of 8 bits")
    if left or top or right >= BLOCK or bottom >= BLOCK:
        raise NotCopyableError("its picture is cropped")
    if (width - right, height - bottom) != (encoding.width, encoding.height):
        raise NotCopyableError("its header states another size than its picture")
    if (
        encoding.pixel_format not in ("yuv420p", "yuvj420p")
        or encoding.form.pixel_format != encoding.pixel_format
    ):
        raise NotCopyableError("its pixel format is converted")
    if sequence.pixel_shape != (encoding.pixel_shape or Fraction(1)):
        raise NotCopyableError("its pixel aspect ratio is stated outside of the picture")
    colors = Colors(
        encoding.color_range, encoding.color_primaries, encoding.color_transfer, encoding.color_matrix
    )
    if sequence.colors != colors:
        raise NotCopyableError("its colors are stated outside of the picture")
