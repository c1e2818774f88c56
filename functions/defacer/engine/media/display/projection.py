"""Keep the layout of a 3D picture and the projection of a 360-degree picture.

FFmpeg reads both from MP4, MKV and the picture itself, as side data of a frame. The result states them in new boxes of
an MP4 (Google's Spherical Video RFC, versions 1 and 2). Names of cameras and programs in the source's boxes are not
copied.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from defacer.engine.media.display.side_data import SPHERICAL, STEREO_3D
from defacer.report.changes import ChangeCode, SourceChange

SPHERICAL_V1 = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")  # the type of version 1's "uuid" box
XML_V1 = (
    '<?xml version="1.0"?><rdf:SphericalVideo xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    'xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/"><GSpherical:Spherical>true</GSpherical:Spherical>'
    "<GSpherical:Stitched>true</GSpherical:Stitched>"
    "<GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType>"
    "<GSpherical:StereoMode>{}</GSpherical:StereoMode></rdf:SphericalVideo>"
)
STEREO_V1 = {0: "mono", 1: "top-bottom", 2: "left-right"}
# FFmpeg's AVStereo3DType and whether the right view comes first, and the mode of a "st3d" box.
STEREO_MODES = {(0, False): 0, (2, False): 1, (1, False): 2, (1, True): 4}
MONO, UNSPECIFIED = 0, 8
# FFmpeg's AVSphericalProjection
SPHERE, CUBE, PART_OF_SPHERE, HALF_SPHERE, FLAT = range(5)
QUARTER = 1 << 30  # of the width, as the left and right bounds of half a sphere


@dataclass(frozen=True)
class Projection:
    """The 3D layout (FFmpeg's type, and whether the right view comes first), and the spherical projection."""

    layout: tuple[int, bool] | None = None
    shape: int = FLAT
    angles: tuple[int, int, int] = (0, 0, 0)  # yaw, pitch and roll in 65536ths of a degree
    bounds: tuple[int, int, int, int] = (0, 0, 0, 0)  # left, top, right, bottom
    padding: int = 0

    @classmethod
    def of(cls, side_data: dict[str, bytes]) -> "Projection":
        """Return the projection that the side data of a frame states."""
        stereo, sphere = side_data.get(STEREO_3D), side_data.get(SPHERICAL)
        layout = None
        if stereo is not None:
            kind, flags = struct.unpack("<ii", stereo[:8])
            layout = None if kind == UNSPECIFIED else (kind, bool(flags & 1))
        if sphere is None:
            return cls(layout)
        shape, yaw, pitch, roll, *bounds, padding = struct.unpack("<iiii5I", sphere[:36])
        if shape == HALF_SPHERE:
            shape, bounds = PART_OF_SPHERE, [QUARTER, 0, QUARTER, 0]
        left, top, right, bottom = bounds
        return cls(layout, shape, (yaw, pitch, roll), (left, top, right, bottom), padding)

    def sample_entry_boxes(self) -> bytes:
        """Return boxes for the sample entry of the result's picture."""
        mode = STEREO_MODES.get(self.layout) if self.layout else None
        stereo = b"" if mode is None else _box(b"st3d", bytes(4) + bytes([mode]))
        if self.shape in (SPHERE, PART_OF_SPHERE):
            left, top, right, bottom = self.bounds
            shape = _box(b"equi", bytes(4) + struct.pack(">4I", top, bottom, left, right))
        elif self.shape == CUBE:
            shape = _box(b"cbmp", bytes(4) + struct.pack(">2I", 0, self.padding))
        else:
            return stereo
        pose = _box(b"prhd", bytes(4) + struct.pack(">3i", *self.angles))
        return stereo + _box(b"sv3d", _box(b"svhd", bytes(5)) + _box(b"proj", pose + shape))

    def track_boxes(self) -> bytes:
        """Return boxes for the track of the result's picture, for players that know version 1 only."""
        mode = STEREO_MODES.get(self.layout or (MONO, False))
        if self.shape != SPHERE or mode not in STEREO_V1:
            return b""
        return _box(b"uuid", SPHERICAL_V1 + XML_V1.format(STEREO_V1[mode]).encode())

    def losses(self) -> Iterator[SourceChange]:
        """Yield what an MP4 can't state."""
        if self.layout and self.layout not in STEREO_MODES:
            yield SourceChange(ChangeCode.DROPPED_PROJECTION, "3D layout")
        if self.shape > FLAT:
            yield SourceChange(ChangeCode.DROPPED_PROJECTION, "projection of a 360-degree picture")


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body
