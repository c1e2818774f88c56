"""Export the tracks of a report for annotation tools, and import corrected ones.

An import adds tracks, or moves and extends boxes. A track that is missing in the file stays as it is.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from defacer.engine.errors import ArgumentError
from defacer.engine.media.clock.clocked_source import Source, clock_of
from defacer.engine.media.clock.packet_clock import demux, is_shown
from defacer.engine.media.reader import open_video, read_frames
from defacer.engine.tracking.box_checks import TOLERANCE, clip_box, find_uncovered
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.edits import AddedTrack, Edits
from defacer.report.exchange.formats import DUMP, EVERY_FRAME, FormatName
from defacer.report.exchange.track_file import FileTrack, TrackFile
from defacer.report.faces import Faces
from defacer.report.tracks import Decision, Origin, TrackRecord

MAX_DEVIATION = 0.1  # of the time of a frame, between a sampled frame and its time at a constant rate


@dataclass(frozen=True)
class TrackImport:
    """The edits of an imported file. `uncovered` are tracks whose boxes can show more, and the first and last time."""

    edits: Edits
    uncovered: dict[int, tuple[int, int]]


def export_tracks(faces: Faces, fingerprint: str, form: FormatName, times: Sequence[int]) -> str:
    """Return the tracks as a file of this format. `times` are those of all frames."""
    tracks = []
    for track in faces.tracks:
        frames = _frames_of(track, times, every_frame=form in EVERY_FRAME)
        boxes = {frame: clip_box(track.detections.box_at(times[frame]), faces) for frame in frames}
        shown = {frame: box for frame, box in boxes.items() if box[0] < box[2] and box[1] < box[3]}
        if shown:
            tracks.append(FileTrack(track.id, shown))
    return DUMP[form](TrackFile(fingerprint, len(times), faces.width, faces.height, tuple(tracks)))


def import_tracks(
    file: TrackFile,
    faces: Faces,
    fingerprint: str,
    times: Sequence[int],
    decisions: Mapping[int, Decision] = MappingProxyType({}),
) -> TrackImport:
    """Return the edits that the file makes to a report. New tracks are hidden. `decisions` are made with the edits.

    Raises ArgumentError for the file of another video.
    """
    if file.fingerprint != fingerprint or file.frames != len(times):
        raise ArgumentError("The tracks are of another video. Export the tracks of this video's report.")
    known = {track.id: track for track in faces.tracks}
    moved: dict[int, CompactBoxes] = {}
    added: list[AddedTrack] = []
    uncovered: dict[int, tuple[int, int]] = {}
    for found in file.tracks:
        boxes = CompactBoxes((times[frame], box) for frame, box in sorted(found.boxes.items()))
        track = None if found.number is None else known.get(found.number)
        if track is None:
            added.append(AddedTrack(boxes, Origin.IMPORTED))
        elif not _is_same(boxes, track, faces, times):
            moved[track.id] = boxes
            spans = find_uncovered(track, boxes, decisions.get(track.id, track.decision), faces)
            if spans is not None:
                uncovered[track.id] = spans
    first_id = max(known, default=-1) + 1
    edits = Edits(first_id=first_id if added else None, added=tuple(added), moved=moved)
    return TrackImport(edits, uncovered)


def read_frame_times(source: Source, faces: Faces) -> list[int]:
    """Return the times of all displayed frames. Decodes the video only if its packets do not have these times."""
    with open_video(source) as (container, stream):
        clock = clock_of(source)
        packets = demux(container, stream, clock, picture_only=True)
        times = sorted(
            {packet.pts for packet in packets if packet.pts is not None and is_shown(packet, clock)}
        )
    if len(times) == faces.frames and (times[0], times[-1]) == (faces.start, faces.end):
        return times
    return [frame.pts or 0 for frame in read_frames(source)]


def compute_frame_times(faces: Faces) -> list[int]:
    """Return the times of all frames at a constant rate. Raise ArgumentError if the sampled frames do not fit it."""
    start, end = faces.start, faces.end
    if start is None or end is None or faces.frames < 2:
        raise ArgumentError(
            "The report does not have the times of the frames. Name the video too: --video IN."
        )
    step = Fraction(end - start, faces.frames - 1)
    for track in faces.tracks:
        for sample in () if track.is_manual_mask else track.detections:
            place = (sample.pts - start) / step
            if abs(place - round(place)) > MAX_DEVIATION:
                raise ArgumentError(
                    "The frames of the video do not have a constant rate, so their numbers are not known from "
                    "the report alone. Name the video too: --video IN."
                )
    return [start + round(number * step) for number in range(faces.frames)]


def _frames_of(track: TrackRecord, times: Sequence[int], *, every_frame: bool) -> list[int]:
    """Return the frames whose boxes define the track. A corrected moment can be between two frames."""
    first = min(bisect_left(times, track.start), len(times) - 1)
    last = max(bisect_right(times, track.end) - 1, first)
    if every_frame:
        return list(range(first, last + 1))
    places = [(bisect_right(times, item.pts) - 1, bisect_left(times, item.pts)) for item in track.detections]
    return sorted({first, last} | {frame for pair in places for frame in pair if first <= frame <= last})


def _is_same(boxes: CompactBoxes, track: TrackRecord, faces: Faces, times: Sequence[int]) -> bool:
    """Return whether the boxes are those of the track, as far as the frames show it."""
    frames = _frames_of(track, times, every_frame=False)
    if (boxes[0].pts, boxes[-1].pts) != (times[frames[0]], times[frames[-1]]):
        return False
    checked = {*(times[frame] for frame in frames), *(sample.pts for sample in boxes)}
    pairs = (
        (clip_box(boxes.box_at(pts), faces), clip_box(track.detections.box_at(pts), faces)) for pts in checked
    )
    return all(abs(a - b) <= TOLERANCE for one, other in pairs for a, b in zip(one, other, strict=True))
