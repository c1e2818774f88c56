"""COCO: a JSON object with images and annotations. `track_id` of an annotation is the track's number in the report."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from defacer.report.compact_boxes import Box
from defacer.report.exchange.track_file import TrackFile, TrackFileError, box_of, merge_boxes, require_video

NUMBER = re.compile(r"(\d+)\D*$", re.ASCII)


def dump_coco(file: TrackFile) -> str:
    """Return the file. The video's frames are images with the ids from 1, and `info` names the video."""
    size = {"width": file.width, "height": file.height}
    rows = sorted(
        (frame, track.number or 0, box) for track in file.tracks for frame, box in track.boxes.items()
    )
    images = [
        {"id": frame + 1, "file_name": f"frame_{frame:06}.png", "frame": frame, **size}
        for frame in sorted({frame for frame, _, _ in rows})
    ]
    annotations = [
        {
            "id": number,
            "image_id": frame + 1,
            "category_id": 1,
            "track_id": track,
            "bbox": [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)],
            "area": round((x2 - x1) * (y2 - y1), 2),
            "iscrowd": 0,
            "attributes": {"track_id": track},
        }
        for number, (frame, track, (x1, y1, x2, y2)) in enumerate(rows, start=1)
    ]
    info = {"description": "defacer", "fingerprint": file.fingerprint, "frames": file.frames, **size}
    categories = [{"id": 1, "name": "face", "supercategory": ""}]
    return (
        json.dumps({"info": info, "images": images, "annotations": annotations, "categories": categories})
        + "\n"
    )


def parse_coco(text: str) -> TrackFile:
    """Return the tracks of a file. Raise TrackFileError if it can't be used."""
    try:
        found = json.loads(text)
        info, images, annotations = found["info"], found["images"], found["annotations"]
        fingerprint, frames = require_video(info.get("fingerprint"), info.get("frames"))
        frame_of = {image["id"]: _frame_of(image) for image in images}
        tracks: defaultdict[int, dict[int, Box]] = defaultdict(dict)
        for annotation in annotations:
            left, top, width, height = map(float, annotation["bbox"])
            box = box_of((left, top, left + width, top + height), f"annotation {annotation['id']}")
            tracks[_track_of(annotation)][frame_of[annotation["image_id"]]] = box
        width, height = (int(info.get(side, 0)) for side in ("width", "height"))
    except TrackFileError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise TrackFileError(
            f"it is not a COCO file with tracks ({type(error).__name__}). Export it with `defacer tracks`."
        ) from error
    return TrackFile(fingerprint, frames, width, height, merge_boxes(tracks.items()))


def _frame_of(image: Mapping[str, Any]) -> int:
    if "frame" in image:
        return int(image["frame"])
    found = NUMBER.search(image["file_name"])
    if found is None:
        raise TrackFileError(f"image {image['id']} has no frame number in its name. Add one.")
    return int(found[1])


def _track_of(annotation: Mapping[str, Any]) -> int:
    number = annotation.get("track_id", annotation.get("attributes", {}).get("track_id"))
    if number is None:
        raise TrackFileError(f"annotation {annotation['id']} has no track_id. Add one.")
    return int(number)
