"""Follow what is inside a drawn box: by detections at a low threshold, linked from each anchor in both directions.

An anchor is a box that a person drew at a moment. Further anchors are corrections. Where no detection confirms the
place, the mask covers the last and the next confirmed box with a margin, and the span is reported for a check.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice, pairwise

from defacer.engine.corrections.box_chain import Doubt, is_cut_between, link_detections
from defacer.engine.corrections.face_looks import FaceLooks
from defacer.engine.corrections.span_search import (
    FrameCallback,
    SampledFrame,
    TimeSpan,
    search_closely,
    search_span,
)
from defacer.engine.errors import ArgumentError
from defacer.engine.models.arrays import Detector
from defacer.engine.models.embedding import Recognizer
from defacer.engine.rendering.box_motion import (
    SPEED_SECONDS,
    compute_overlap,
    contains_center,
    enclose_boxes,
    expand_box,
)
from defacer.report.compact_boxes import Box, BoxAt, CompactBoxes
from defacer.report.edits import AddedTrack
from defacer.report.tracks import TrackRecord

SAMPLES_PER_SECOND = 10
SAME_PLACE = (
    0.5  # overlap (intersection over union) of two chains that agree, and of two boxes of a slow face
)
GAP_MARGIN = 0.25  # of the box's size, around a box that nothing confirms
STEP_SECONDS = 1.5 / SAMPLES_PER_SECOND  # between two samples in a row, at most
TRACK_SLACK_SECONDS = 0.5  # before and after a track of the report, its face can be visible
WAY_SECONDS = 0.3  # beyond the end of a chain, the mask covers the way of the face for this time
DOUBT_MARGIN_SECONDS = 0.1  # before and after a doubtful span: views of the face to compare with
MAX_CLOSE_FRAMES = (
    2000  # that are searched closely, for time and memory. Doubts that are left are to be checked
)
BRIEF_GAP_SECONDS = 0.35  # a shorter gap needs no check, because both sides confirm its place

Boxes = dict[int, Box]  # of one chain, by time


def follow_box(
    span: TimeSpan,
    anchors: Sequence[BoxAt],
    detector: Detector,
    load_recognizer: Callable[[], Recognizer],
    progress: FrameCallback = lambda _: None,
) -> AddedTrack:
    """Return a mask for the whole span that follows what is inside the anchors' boxes.

    `progress` gets the number of read frames, and can raise to stop. Raises ArgumentError without an anchor in the
    span, and the errors of `search_span`.
    """
    anchors = sorted(anchors, key=lambda anchor: anchor.pts)
    if not anchors or not all(span.start <= anchor.pts <= span.end for anchor in anchors):
        raise ArgumentError("A box is drawn at a time outside its time span. Draw one inside it.")
    times = [anchor.pts for anchor in anchors]
    read = 0

    def count(number: int) -> None:
        nonlocal read
        read = max(read, number)
        progress(read)

    looks = FaceLooks(load_recognizer)
    samples = list(search_span(span, detector, SAMPLES_PER_SECOND, count, times=times))
    places, doubts = _place_boxes(span, samples, anchors, looks)
    left_to_search = MAX_CLOSE_FRAMES
    while doubts and left_to_search:
        closely = {sample.pts: sample for sample in samples}
        for part, near in _spans_to_search(span, doubts):
            with closing(search_closely(part, detector, looks.crop, near, lambda: count(0))) as searched:
                found = list(islice(searched, left_to_search))
            left_to_search -= len(found)
            closely.update((sample.pts, sample) for sample in found)
        samples = [closely[pts] for pts in sorted(closely)]
        places, doubts = _place_boxes(span, samples, anchors, looks)
    left = [(max(first, span.start), min(last, span.end)) for first, last, _ in doubts]
    return _make_track(span, samples, places, left)


def _spans_to_search(span: TimeSpan, doubts: Sequence[Doubt]) -> list[tuple[TimeSpan, list[Box]]]:
    """Return the joined spans of the doubts with the frames just before and after, and the boxes of the faces."""
    more = round(DOUBT_MARGIN_SECONDS / span.seconds(1))
    joined = _join_spans(sorted((first - more, last + more) for first, last, _ in doubts), 0)
    return [
        (
            replace(span, start=max(first, span.start), end=min(last, span.end)),
            [box for start, end, box in doubts if first <= start and end <= last],
        )
        for first, last in joined
    ]


@dataclass(frozen=True)
class _Place:
    """A box at a time. It is unconfirmed if two chains contradict each other there. A person drew it if `is_drawn`."""

    pts: int
    box: Box
    is_confirmed: bool = True
    is_drawn: bool = False


def _place_boxes(
    span: TimeSpan, samples: Sequence[SampledFrame], anchors: Sequence[BoxAt], looks: FaceLooks
) -> tuple[list[_Place], list[Doubt]]:
    """Return the boxes of the mask where an anchor or a detection confirms its place, in the order of time.

    The doubts are the spans that have to be searched closely.
    """
    slack = round(TRACK_SLACK_SECONDS / span.seconds(1))
    others = _other_tracks(span.faces.tracks, anchors, slack)
    samples = [_without(sample, others, span, slack) for sample in samples]
    indices = [max(bisect_right([sample.pts for sample in samples], anchor.pts) - 1, 0) for anchor in anchors]
    found: dict[int, _Place] = {}
    doubts: list[Doubt] = []

    def link(anchor: int, end: int) -> Boxes:
        step = 1 if end > indices[anchor] else -1
        part = [samples[n] for n in range(indices[anchor], end, step)]
        chain = link_detections(part, anchors[anchor].box, span, looks)
        doubts.extend(chain.doubts)
        return chain.boxes

    def add(chains: Iterable[Boxes]) -> None:
        for place in _merge_chains(list(chains)):
            found[place.pts] = place

    add([link(0, -1)])
    for number, (first, last) in enumerate(pairwise(indices)):
        forwards, backwards = link(number, last + 1), link(number + 1, first - 1)
        add(_without_drift(forwards, backwards, anchors[number], anchors[number + 1]))
    add([link(len(anchors) - 1, len(samples))])
    for anchor, index in zip(anchors, indices, strict=True):
        found[samples[index].pts] = _Place(samples[index].pts, anchor.box, is_drawn=True)
    return [found[pts] for pts in sorted(found)], doubts


def _merge_chains(chains: Sequence[Boxes]) -> list[_Place]:
    """Return the boxes of one or two chains. Where both have one, the mask covers both."""
    places = []
    for pts in {pts for chain in chains for pts in chain}:
        boxes = [chain[pts] for chain in chains if pts in chain]
        is_same = len(boxes) == 1 or compute_overlap(*boxes) >= SAME_PLACE
        places.append(_Place(pts, enclose_boxes(*boxes), is_same))
    return places


def _without_drift(forwards: Boxes, backwards: Boxes, one: BoxAt, other: BoxAt) -> list[Boxes]:
    """Return both chains. A chain that does not reach the other anchor's box counts only while both agree."""
    agreed = [
        pts
        for pts in forwards.keys() & backwards.keys()
        if compute_overlap(forwards[pts], backwards[pts]) >= SAME_PLACE
    ]
    if _misses(forwards, max(forwards, default=one.pts), other):
        forwards = {pts: box for pts, box in forwards.items() if pts <= max(agreed, default=one.pts)}
    if _misses(backwards, min(backwards, default=other.pts), one):
        backwards = {pts: box for pts, box in backwards.items() if pts >= min(agreed, default=other.pts)}
    return [forwards, backwards]


def _misses(chain: Boxes, end: int, anchor: BoxAt) -> bool:
    """Return whether a chain comes to the anchor's time, but not to its place."""
    return end in chain and abs(end - anchor.pts) <= 1 and compute_overlap(chain[end], anchor.box) < 0.1


def _other_tracks(tracks: Sequence[TrackRecord], anchors: Sequence[BoxAt], slack: int) -> list[TrackRecord]:
    """Return the tracks of the report that show other faces: those outside the boxes of all anchors.

    A box that is drawn shortly after a track's end, in its place, continues that track.
    """
    return [
        track
        for track in tracks
        if not track.is_manual_mask
        and not any(
            track.start - slack <= anchor.pts <= track.end + slack
            and contains_center(anchor.box, track.detections.box_at(anchor.pts))
            for anchor in anchors
        )
    ]


def _without(sample: SampledFrame, others: Sequence[TrackRecord], span: TimeSpan, slack: int) -> SampledFrame:
    """Return the sample without the detections of these tracks, and without those shortly before and after them."""
    places = [
        track.detections.box_at(sample.pts)
        for track in others
        if track.start - slack <= sample.pts <= track.end + slack
        and not is_cut_between(span, min(max(sample.pts, track.start), track.end), sample.pts)
    ]
    return sample.only(
        lambda face: not any(compute_overlap(tuple(face.box), place) >= SAME_PLACE for place in places)
    )


def _make_track(
    span: TimeSpan,
    samples: Sequence[SampledFrame],
    places: Sequence[_Place],
    doubtful: Sequence[tuple[int, int]],
) -> AddedTrack:
    """Return the mask from the start to the end of the span. The times `doubtful` are to be checked, too."""
    boxes: dict[int, Box] = {}
    unconfirmed = list(doubtful)
    close = [sample.pts for sample in samples if sample.is_close]
    places = _steady_boxes(span, places, frozenset(close))

    def hold(first: int, last: int, box: Box, *, to_check: bool) -> None:
        """Keep the box in one place, grown if nothing confirms it."""
        if first <= last:
            boxes[first] = boxes[last] = expand_box(box, GAP_MARGIN) if to_check else box
            if to_check:
                unconfirmed.append((first, last))

    first, last = places[0], places[-1]
    before, after = first.pts > samples[0].pts, last.pts < samples[-1].pts
    hold(span.start, first.pts - 1, _way_on(span, places) if before else first.box, to_check=before)
    for one, other in pairwise(places):
        gap = span.seconds(other.pts - one.pts)
        is_next = bisect_right(close, other.pts) - bisect_right(close, one.pts) == 1 and one.pts in close
        if gap > STEP_SECONDS or (not is_next and compute_overlap(one.box, other.box) < SAME_PLACE):
            both = enclose_boxes(one.box, other.box)
            hold(one.pts + 1, other.pts - 1, both, to_check=gap > BRIEF_GAP_SECONDS)
    hold(last.pts + 1, span.end, _way_on(span, places[::-1]) if after else last.box, to_check=after)
    for place in places:
        boxes[place.pts] = place.box
        if not place.is_confirmed:
            unconfirmed.append((place.pts, place.pts))
    spans = _join_spans(sorted(unconfirmed), round(STEP_SECONDS / span.seconds(1)))
    return AddedTrack(CompactBoxes(sorted(boxes.items())), unconfirmed=tuple(spans))


def _steady_boxes(span: TimeSpan, places: Sequence[_Place], close: Collection[int]) -> list[_Place]:
    """Return the places with larger boxes where each frame was searched.

    Fast faces are blurred, so a box is often too small or beside the face. It is joined with the box between its
    neighbors.
    """
    steady = list(places)
    for number, (before, place, after) in enumerate(zip(places, places[1:], places[2:], strict=False), 1):
        is_fast = place.pts in close and span.seconds(after.pts - before.pts) <= STEP_SECONDS
        if is_fast and not place.is_drawn:
            between = CompactBoxes([(before.pts, before.box), (after.pts, after.box)]).box_at(place.pts)
            steady[number] = replace(place, box=enclose_boxes(place.box, between))
    return steady


def _way_on(span: TimeSpan, places: Sequence[_Place]) -> Box:
    """Return the box around the first place and the way on from there, at the face's last speed.

    `places` begin at the end of the chain, and lead back from it.
    """
    end = places[0]
    far = (place for place in places if span.seconds(abs(place.pts - end.pts)) >= SPEED_SECONDS)
    other = next(far, places[-1])
    if other.pts == end.pts:
        return end.box
    steps = WAY_SECONDS / span.seconds(abs(end.pts - other.pts))
    x1, y1, x2, y2 = end.box
    (right, down) = (
        (end.box[side] + end.box[side + 2] - other.box[side] - other.box[side + 2]) / 2 * steps
        for side in (0, 1)
    )
    return enclose_boxes(end.box, (x1 + right, y1 + down, x2 + right, y2 + down))


def _join_spans(spans: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Join spans that are at most `gap` apart. They are in the order of time."""
    joined: list[tuple[int, int]] = []
    for first, last in spans:
        if joined and first - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined
