"""The JSON that the review's scripts read: the video, its tracks with their decisions, and the boxes of one track.

All times are in seconds from the first frame.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from defacer.pipeline.channel import list_kept_people
from defacer.plurals import pluralize, resemblance
from defacer.report.texts import ADVICE
from defacer.report.track_splits import without_parts
from defacer.report.tracks import Origin, Reason, TrackRecord
from defacer.web.console.review.published_review import Review, load_review, parse_track_id

UNSURE_SHARE = (
    0.1  # a decision is close if the distance is this near to the match threshold, as a share of it
)
MAX_BOXES_SECONDS = 60
MAX_GAP_SECONDS = 1.0  # between two detections of a track that are shown as one span
REASON_TEXT = {
    Reason.MATCHED: "Similar enough to a picture of this target",
    Reason.NO_MATCH: "Not similar enough to any target",
    Reason.NO_TARGETS: "The channel had no targets, so all faces are hidden",
    Reason.SAME_PERSON: "The same person as another kept track of this video",
    Reason.CONTINUATION: "Continues a kept track, with no other face near it",
    Reason.AMBIGUOUS: "Another track is nearer to the target, and the two do not look like one person",
    Reason.UNLIKE_TARGET: "Does not look like the target, in the place of a kept face",
    Reason.FOUND_BY_VERIFICATION: "Found by the check of the finished video, and hidden",
    Reason.RIVAL_NEARER: "Another face in the same frame is nearer to the target",
    Reason.RIVAL_AS_NEAR: "Another face in the same frame is as near to the target",
    Reason.NOT_COMPARABLE: "Never visible clearly enough to compare it with a target",
    Reason.NOT_ENOUGH_SEEN: "Not visible for long enough",
    Reason.FOUND_BY_SEARCH: "Found by looking again, and hidden until you keep it",
    Reason.MANUAL: "Manual decision",
    Reason.CONSENT_WITHDRAWN: "This person withdrew their consent",
    Reason.NOT_CONFIRMED: "No person confirmed in time that this face stays visible",
}


async def show_data(request: Request) -> Response:
    """Return the review as JSON, without the boxes of its tracks."""
    review = await run_in_threadpool(load_review, request)
    people = await run_in_threadpool(list_kept_people, review.channel)
    return JSONResponse(await run_in_threadpool(describe_review, review, people))


async def show_track(request: Request) -> Response:
    """Return the detections of a track as JSON: `[second, x1, y1, x2, y2]` each, in pixels of the frame."""
    review = await run_in_threadpool(load_review, request)
    number = parse_track_id(request.path_params["track"])
    boxes = review.boxes_of({number}).get(number)
    if boxes is None:
        raise HTTPException(404, "The report has no such track. Load the page again.")
    faces = review.report.faces
    detections = [[review.to_seconds(item.pts), *item.box] for item in boxes]
    return JSONResponse({"width": faces.width, "height": faces.height, "detections": detections})


async def show_boxes(request: Request) -> Response:
    """Return the detections of all tracks from one second to another of the video, by track, as `show_track` does.

    The nearest detections outside that range are included, so that a player can interpolate.
    """
    first, last = (_parse_seconds(request, name) for name in ("from", "to"))
    if not 0 <= last - first <= MAX_BOXES_SECONDS:
        raise HTTPException(422, f"`from` and `to` must be at most {MAX_BOXES_SECONDS} s apart.")
    review = await run_in_threadpool(load_review, request)
    start, end, near = review.to_pts(first), review.to_pts(last), review.to_pts(1) - review.to_pts(0)
    boxes = {
        track: [[review.to_seconds(item.pts), *item.box] for item in detections.around(start, end)]
        for track, detections in review.boxes_of(review.groups).items()
        if detections[0].pts <= end + near and detections[-1].pts >= start - near
    }
    return JSONResponse({"tracks": boxes})


def _parse_seconds(request: Request, name: str) -> float:
    text = request.query_params.get(name, "")
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text):
        raise HTTPException(422, f"`{name}` is not a number of seconds.")
    return float(text)


def describe_review(review: Review, people: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON of a review. `people` are the channel's targets."""
    faces, duration = review.report.faces, review.duration
    return {
        "version": review.version,
        "summary": _summarize(review),
        "waiting_until": review.review_end.isoformat() if review.review_end else None,
        "warnings": [f"{item.message} {ADVICE.get(item.code, '')}" for item in faces.warnings],
        "pending": len(review.pending.track_ids) + len(review.pending.added),
        "video": {
            "width": faces.width,
            "height": faces.height,
            "duration": duration,
            "frame_rate": review.report.frames / duration,
            "time_base": faces.time_base,
            "start_pts": review.manifest.video.start_pts,
            "cuts": [review.to_seconds(pts) for pts in faces.cuts],
        },
        "editable": review.has_source,
        "people": people,
        "suggestions": [pair for pair in faces.suggested_merges if pair not in review.pending.different],
        "tracks": [
            *(_describe_track(review, track) for track in review.report.tracks),
            *_describe_added(review),
        ],
    }


def _summarize(review: Review) -> str:
    """Return the facts about the result or the proposal in a few sentences."""
    report = review.report
    cards = len({track.group for track in report.tracks})
    sentences = [
        f"{pluralize(report.frames, 'frame')}, {pluralize(len(report.tracks), 'track')} on {pluralize(cards, 'card')}.",
        "A track is one face followed through time. A card has the tracks that look like one person.",
    ]
    if report.black_frames:
        sentences.append(f"Damaged frames are black: {report.black_frames}.")
    if review.is_waiting:
        is_checked = report.policy.verify != "off"
        sentences.append("Nothing is rendered yet.")
        sentences.append(f"The result is {'' if is_checked else 'not '}checked before it is published.")
    elif report.checked is None:
        sentences.append("The result was not checked.")
    else:
        hidden = len(report.checked.tracks)
        outcome = f"hid {pluralize(hidden, 'more face')}" if hidden else "found no other face to hide"
        sentences.append(f"The check sampled {report.checked.frames} frames of the result and {outcome}.")
    return " ".join(sentences)


def _describe_track(review: Review, track: TrackRecord) -> dict[str, Any]:
    """Return a track of the report. `requested`, `group` and `person` are those after the pending edits."""
    pending, faces = review.pending, review.report.faces
    number = review.number_of(track.id)
    boxes = without_parts(track.detections, number, pending)
    person = track.person if track.decision == "keep" else None
    return {
        "id": track.id,
        "group": review.groups[track.id],
        "person": pending.people.get(number, person),
        "decision": track.decision,
        "requested": pending.decisions.get(number, track.decision),
        "reason": REASON_TEXT[track.reason],
        "resemblance": resemblance(track.distance, track.strangers_per_10000).capitalize(),
        "unsure": is_unsure(track, faces.match_threshold),
        "origin": track.origin,
        "withdrawn": track.reason == Reason.CONSENT_WITHDRAWN,
        "spans": _convert(review, boxes.spans(_max_gap(review, track.origin))),
        "unconfirmed": _convert(review, track.unconfirmed),
    }


def _describe_added(review: Review) -> Iterator[dict[str, Any]]:
    """Yield the tracks that a pending request adds. They have no boxes in the report yet."""
    pending = review.pending
    for track, item in review.added.items():
        number, added = item.number, item.track
        yield {
            "id": track,
            "group": review.groups[track],
            "person": pending.people.get(number, added.person),
            "decision": added.decision,
            "requested": pending.decisions.get(number, added.decision),
            "reason": "Added, and not rendered yet",
            "resemblance": "",
            "unsure": added.origin == Origin.SEARCH
            and added.decision == "hide"
            and number not in pending.decisions,
            "origin": added.origin,
            "withdrawn": False,
            "spans": _convert(review, added.detections.spans(_max_gap(review, added.origin))),
            "unconfirmed": _convert(review, added.unconfirmed),
        }


def _max_gap(review: Review, origin: Origin) -> int:
    """Return the largest gap in one span. A drawn mask has boxes only at its corrected moments."""
    if origin == Origin.MANUAL:
        return 2**62
    return round(MAX_GAP_SECONDS / Fraction(review.report.faces.time_base))


def is_unsure(track: TrackRecord, match_threshold: float) -> bool:
    """Return whether the decision was close, or whether the distance alone would have decided otherwise.

    The distance alone would hide a track that is kept as the same person as another one, and would keep a track that is
    hidden because another face in the same frame was as near. A face that a new search found is unsure until a person
    decides. A manual decision is never unsure.
    """
    if track.reason == Reason.FOUND_BY_SEARCH:
        return True
    if track.reason == Reason.MANUAL or track.margin is None:
        return False
    margin = track.margin if track.decision == "keep" else -track.margin
    return margin < UNSURE_SHARE * match_threshold


def _convert(review: Review, spans: tuple[tuple[int, int], ...]) -> list[tuple[float, float]]:
    return [(max(0.0, review.to_seconds(first)), review.to_seconds(last)) for first, last in spans]
