"""Change decisions in a document of faces, one track at a time, because a long video's tracks fill the memory."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from defacer.engine.errors import EngineError
from defacer.engine.tracking.face_report import require_known_recognizer
from defacer.plurals import pluralize
from defacer.report.faces import dump_head, load_head
from defacer.report.json_lines import ReportError, dump_track, join_report, load_track, split_report
from defacer.report.tracks import Decision, Reason, TrackRecord


@dataclass(frozen=True)
class EditedReport:
    """A document of faces with other decisions.

    `people` are named in it. `unconsented_tracks` are kept tracks of people who are not allowed to be kept.
    """

    document: bytes = field(repr=False)
    people: tuple[str, ...]
    unconsented_tracks: tuple[int, ...]


def with_decisions(
    document: bytes, decisions: Mapping[int, Decision], known: Collection[str] | None
) -> EditedReport:
    """Return the document with these decisions for these tracks. All other tracks stay as they are.

    Only the people in `known` can be kept by their names (None: everyone), and a hidden track loses any other name.
    Raises EngineError for a track that does not exist, and for any other document.
    """
    people, unconsented, missing = set[str](), [], set(decisions)

    def edited(lines: Iterator[bytes]) -> Iterator[bytes]:
        for line in lines:
            before = load_track(line)
            missing.discard(before.id)
            track, is_consented = _decide(before, decisions.get(before.id), known)
            if not is_consented:
                unconsented.append(track.id)
            if track.person is not None:
                people.add(track.person)
            yield line if track == before else dump_track(track)

    try:
        head_line, lines = split_report(document)
        head = load_head(head_line)
        require_known_recognizer(head.recognizer)
        if decisions:  # a manual decision ends the warnings
            head = replace(head, warnings=())
        made = join_report(dump_head(head), edited(lines))
    except ReportError as error:
        raise EngineError(str(error)) from error
    if missing:
        raise EngineError(_missing_tracks(missing, made.count(b"\n") - 2))
    return EditedReport(made, tuple(sorted(people)), tuple(unconsented))


def _decide(
    track: TrackRecord, decision: Decision | None, known: Collection[str] | None
) -> tuple[TrackRecord, bool]:
    """Return the track after a decision (None: as it is), and whether it is allowed to be as it is then."""
    if known is not None and track.reason == Reason.CONSENT_WITHDRAWN and decision == "keep":
        return track, False
    if decision is not None:
        track = replace(track, decision=decision, reason=Reason.MANUAL, rival=None, strangers_per_10000=None)
    if known is None or track.person is None or track.person in known:
        return track, True
    return (track, False) if track.decision == "keep" else (replace(track, person=None), True)


def _missing_tracks(missing: Collection[int], count: int) -> str:
    numbers = ", ".join(map(str, sorted(missing)))
    return f"its report has no track {numbers}; it has {pluralize(count, 'track')}. List the tracks, and decide again."
