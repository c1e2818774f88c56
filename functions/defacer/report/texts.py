"""The text for reasons and warnings, where a command shows them. The console has its own sentences for reasons."""

from collections.abc import Iterable

from defacer.plurals import pluralize
from defacer.report.edits import Edits
from defacer.report.tracks import Reason, TrackRecord

REASON_TEXT = {
    Reason.NO_TARGETS: "no targets: everyone is hidden",
    Reason.NOT_COMPARABLE: "never visible clearly enough to compare it",
    Reason.MATCHED: "near a target",
    Reason.NO_MATCH: "near no target",
    Reason.SAME_PERSON: "the same person as a kept track",
    Reason.CONTINUATION: "continues a kept track",
    Reason.AMBIGUOUS: "ambiguous: another track is nearer to the target, and the two do not look like one person",
    Reason.RIVAL_NEARER: "track {rival}, in the same frame, is nearer to the target",
    Reason.RIVAL_AS_NEAR: "track {rival}, in the same frame, is as near to the target",
    Reason.UNLIKE_TARGET: "does not look like the target, in the place of a kept face",
    Reason.NOT_ENOUGH_SEEN: "too few views until now",
    Reason.FOUND_BY_VERIFICATION: "found by the check of the result",
    Reason.FOUND_BY_SEARCH: "found by looking again, and hidden until you keep it",
    Reason.MANUAL: "manual decision",
    Reason.CONSENT_WITHDRAWN: "consent was withdrawn",
    Reason.NOT_CONFIRMED: "no person confirmed it in time",
}

CHECK_OFF = "check: off, the result was not searched for visible faces"

# What a user can do about a warning.
ADVICE = {
    "no-track-kept": "If this person is not in the video, ignore this. Otherwise use a sharper and larger picture.",
    "blurred-picture": "Sharper pictures are recognized more reliably.",
    "small-picture": "Larger pictures are recognized more reliably.",
    "overexposed-picture": "Pictures with less light are recognized more reliably.",
    "squeezed-picture": "Pictures in their own proportions are recognized more reliably.",
    "turned-picture": "Pictures from the front are recognized more reliably.",
}


def describe_place(box: Iterable[float], width: int) -> str:
    """Return where a box (x1, y1, x2, y2 in pixels) is in a frame of this width, for example `left (219,197,147,174)`.

    The numbers are those of `--mask`: the upper left corner, the width and the height.
    """
    x1, y1, x2, y2 = (round(float(side)) for side in box)
    place = ("left", "middle", "right")[max(0, min(2, 3 * (x1 + x2) // 2 // width))]
    return f"{place} ({x1},{y1},{x2 - x1},{y2 - y1})"


def describe_reason(reason: Reason, rival: int | None = None) -> str:
    """Return why a track is kept or hidden, as the end of a line."""
    return REASON_TEXT[reason].format(rival=rival)


def describe_decision(track: TrackRecord) -> str:
    """Return the reason of a track's decision, as the end of a line."""
    if track.is_manual_mask:
        return "drawn mask" if track.decision == "hide" else "drawn mask, removed"
    return describe_reason(track.reason, track.rival)


def describe_edits(edits: Edits) -> str:
    """Return how many things a person changed, such as `2 decisions, 1 new track`."""
    counts = {
        "decision": len(edits.decisions),
        "new track": len(edits.added),
        "moved track": len(edits.moved),
        "changed group": len(edits.groups),
        "changed name": len(edits.people),
    }
    return ", ".join(pluralize(count, noun) for noun, count in counts.items() if count)
