"""CVAT for video 1.1: an XML file with a box for each keyframe. CVAT moves boxes in a straight line, as De-facer does.

CVAT numbers tracks by itself, so each box has the attribute `track` with the number in the report. The name of the task
has the fingerprint, because CVAT keeps that name.
"""

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from defacer.report.compact_boxes import Box
from defacer.report.exchange.track_file import (
    FileTrack,
    TrackFile,
    TrackFileError,
    box_of,
    merge_boxes,
    require_video,
)

NAME = re.compile(r"defacer ([0-9a-f]{16,})", re.ASCII)
SIDES = ("xtl", "ytl", "xbr", "ybr")


def dump_cvat(file: TrackFile) -> str:
    """Return the file. After the last box of a track, a box with `outside` ends it."""
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    task = ET.SubElement(ET.SubElement(root, "meta"), "task")
    for name, text in (
        ("name", f"defacer {file.fingerprint}"),
        ("size", str(file.frames)),
        ("mode", "interpolation"),
    ):
        ET.SubElement(task, name).text = text
    label = ET.SubElement(ET.SubElement(task, "labels"), "label")
    ET.SubElement(label, "name").text = "face"
    attribute = ET.SubElement(ET.SubElement(label, "attributes"), "attribute")
    for name, text in (
        *(("name", "track"), ("mutable", "False"), ("input_type", "text")),
        *(("default_value", ""), ("values", "")),
    ):
        ET.SubElement(attribute, name).text = text
    size = ET.SubElement(task, "original_size")
    ET.SubElement(size, "width").text, ET.SubElement(size, "height").text = str(file.width), str(file.height)
    for number, track in enumerate(file.tracks):
        element = ET.SubElement(root, "track", id=str(number), label="face", source="file")
        for frame, box, outside in _boxes_with_end(track, file.frames):
            sides = {name: f"{side:.2f}" for name, side in zip(SIDES, box, strict=True)}
            shown = {
                "frame": str(frame),
                "keyframe": "1",
                "outside": outside,
                "occluded": "0",
                **sides,
                "z_order": "0",
            }
            ET.SubElement(ET.SubElement(element, "box", shown), "attribute", name="track").text = (
                "" if track.number is None else str(track.number)
            )
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _boxes_with_end(track: FileTrack, frames: int) -> Iterator[tuple[int, Box, str]]:
    boxes = sorted(track.boxes.items())
    yield from ((frame, box, "0") for frame, box in boxes)
    last, box = boxes[-1]
    if last + 1 < frames:
        yield last + 1, box, "1"


def parse_cvat(text: str) -> TrackFile:
    """Return the tracks of a file. Raise TrackFileError if it can't be used."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise TrackFileError("it declares a document type, which no CVAT file has. Export it again.")
    try:
        root = ET.fromstring(text)  # noqa: S314 - without a document type there are no entities
        meta = root.find("meta")
        named = [
            found
            for item in (meta.iter() if meta is not None else ())
            if (found := NAME.search(item.text or ""))
        ]
        size = "" if meta is None else (meta.findtext(".//size") or "")
        fingerprint, frames = require_video(
            named[0][1] if named else None, int(size) if size.isdecimal() else None
        )
        tracks = [(_number_of(track), _boxes_of(track)) for track in root.iter("track")]
        width, height = (int(root.findtext(f".//original_size/{side}") or 0) for side in ("width", "height"))
    except TrackFileError:
        raise
    except (ET.ParseError, ValueError, KeyError, RecursionError, OverflowError) as error:
        raise TrackFileError(
            f"it is not a file of CVAT for video 1.1 ({type(error).__name__}). Export it as that."
        ) from error
    return TrackFile(fingerprint, frames, width, height, merge_boxes(tracks))


def _number_of(track: ET.Element) -> int | None:
    text = (track.findtext("box/attribute[@name='track']") or "").strip()
    return int(text) if text.isdecimal() else None


def _boxes_of(track: ET.Element) -> dict[int, Box]:
    return {
        int(box.attrib["frame"]): box_of(
            (float(box.attrib[side]) for side in SIDES),
            f"track {track.get('id')}, frame {box.attrib['frame']},",
        )
        for box in track.iter("box")
        if box.get("outside") != "1"
    }
