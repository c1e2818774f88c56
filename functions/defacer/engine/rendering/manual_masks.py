"""The masks that a person drew: rectangles, exactly from their first to their last time."""

from defacer.report.compact_boxes import Box
from defacer.report.faces import Faces


class ManualMasks:
    """The rectangles of a video's drawn masks. They hide everything, also kept faces."""

    def __init__(self, faces: Faces):
        self._tracks = [track for track in faces.tracks if track.is_manual_mask and track.decision == "hide"]

    def at(self, pts: int) -> list[Box]:
        """Return the rectangles (x1, y1, x2, y2 in displayed pixels) at `pts`."""
        return [track.detections.box_at(pts) for track in self._tracks if track.start <= pts <= track.end]
