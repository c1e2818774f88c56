"""Decisions for other targets: each person of a clip in turn, and people who are not in the clip."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from defacer.engine.recognition.gallery import Gallery
from tests.quality.figures import Share, percent, pooled, table
from tests.quality.grades import Grades
from tests.quality.people import Person
from tests.quality.replay import Replay, grade

MIN_KEPT = 0.95  # over all rotations of the clips
MAX_LEAK_WITHOUT_CUTS = 0.02


@dataclass(frozen=True)
class Turn:
    """The grades with one person of a clip as the target."""

    person: str
    grades: Grades


@dataclass(frozen=True)
class ForeignPair:
    """A target picture and a clip that does not show that person. `leaked` counts faces in the rendered result."""

    person: str
    clip: str
    tracks: int
    kept_tracks: int
    leaked: int


def rotate(replay: Replay, galleries: Mapping[Person, Gallery], score: ModuleType) -> Iterator[Turn]:
    """Grade the replay's clip with each of these people as the target."""
    for person, gallery in galleries.items():
        with tempfile.TemporaryDirectory(prefix="defacer-quality-") as folder:
            faces = replay.decide(gallery)
            yield Turn(person.label, grade(replay.clip.video, faces, person.truth, Path(folder), score))


def compare_foreign(
    replays: Iterable[Replay], galleries: Mapping[Person, Gallery], score: ModuleType
) -> Iterator[ForeignPair]:
    """Decide each clip with the target pictures of people who are not in it; render it if a track is kept."""
    for replay in replays:
        clip = replay.clip
        for person, gallery in galleries.items():
            if clip.name in person.shown_in:
                continue
            faces = replay.decide(gallery)
            kept_tracks = sum(track.decision == "keep" for track in faces.tracks)
            leaked = 0
            if kept_tracks:
                with tempfile.TemporaryDirectory(prefix="defacer-quality-") as folder:
                    grades = grade(clip.video, faces, clip.truth, Path(folder), score, hides_all=True)
                leaked = grades.leaked.count
            yield ForeignPair(person.label, clip.name, len(faces.tracks), kept_tracks, leaked)


def turns_table(turns: Sequence[Turn], without_cuts: Sequence[Turn]) -> str:
    blind = {turn.person: turn for turn in without_cuts}
    lines = [
        [turn.person, turn.grades.leaked, turn.grades.kept, *_leaked_and_kept(blind.get(turn.person))]
        for turn in turns
    ]
    lines.append(["all", *_pooled(turns), *_pooled(without_cuts)])
    head = ["target", "leaked", "target kept", "leaked, no cut detector", "target kept, no cut detector"]
    return table(head, lines)


def pairs_table(pairs: Sequence[ForeignPair]) -> str:
    lines = [
        [
            f"{len({pair.person for pair in pairs})} target pictures, {len({pair.clip for pair in pairs})} clips",
            Share(sum(pair.kept_tracks > 0 for pair in pairs), len(pairs)),
            Share(sum(pair.kept_tracks for pair in pairs), sum(pair.tracks for pair in pairs)),
            sum(pair.leaked for pair in pairs),
        ]
    ]
    return table(["foreign pairs", "pairs with a kept track", "kept tracks", "leaked faces"], lines)


def rotation_problems(
    turns: Sequence[Turn], without_cuts: Sequence[Turn], pairs: Sequence[ForeignPair]
) -> list[str]:
    """Return the bounds that are not held, in words."""
    problems = [
        f"leak with target {turn.person}: {turn.grades.leaked}, at most 0"
        for turn in turns
        if turn.grades.leaked.count
    ]
    if turns and (share := pooled(turn.grades.kept for turn in turns)).value < MIN_KEPT:
        problems.append(f"target kept over all rotations: {share}, at least {percent(MIN_KEPT)}")
    share = pooled(turn.grades.leaked for turn in without_cuts)
    if share.value > MAX_LEAK_WITHOUT_CUTS:
        problems.append(f"leak without the cut detector: {share}, at most {percent(MAX_LEAK_WITHOUT_CUTS)}")
    problems += [
        f"{pair.clip} with target {pair.person}, who is not in it: {pair.kept_tracks} kept tracks, "
        f"{pair.leaked} leaked faces, at most 0"
        for pair in pairs
        if pair.kept_tracks
    ]
    return problems


def _leaked_and_kept(turn: Turn | None) -> tuple[object, object]:
    return ("", "") if turn is None else (turn.grades.leaked, turn.grades.kept)


def _pooled(turns: Sequence[Turn]) -> tuple[object, object]:
    return pooled(turn.grades.leaked for turn in turns), pooled(turn.grades.kept for turn in turns)
