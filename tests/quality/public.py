"""Grade composites of public clips: every person of a composite is the target in turn.

A composite shows up to 26 people one after the other or side by side (composites.py), so rendering it for each person
would take hours. Each face is graded by the share of its box that masks cover, and a decision that leaks by that
measure is rendered and graded by its pixels.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from defacer.engine.engine import Engine
from defacer.engine.media.reader import read_frames
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from tests.quality.clips import Clip
from tests.quality.composites import Composite
from tests.quality.figures import Share, pooled, table
from tests.quality.grades import visible_by_masks
from tests.quality.people import Person, gallery_of
from tests.quality.replay import Replay, grade
from tests.quality.rotation import ForeignPair, compare_foreign


@dataclass(frozen=True)
class CompositeGrades:
    """The grades of one composite over all its targets, with and without the cut detector, and the foreign pairs.

    `leaked_pixels` counts leaked faces in the rendered results, for the targets that leak by their masks.
    """

    name: str
    targets: int
    leaked: Share
    kept: Share
    leaked_without_cuts: Share
    kept_without_cuts: Share
    leaked_pixels: int
    pairs: list[ForeignPair]


def grade_composites(
    composites: Sequence[Composite], engine: Engine, score: ModuleType
) -> Iterator[CompositeGrades]:
    options = Options()
    people = list(_people(composites))
    galleries = {person: gallery_of(person, engine, options) for person in people}
    for composite in composites:
        clip = Clip(composite.name, composite.video, composite.truth)
        own = {person: gallery for person, gallery in galleries.items() if person.clip == composite.name}
        with_cuts = Replay(clip, engine, options)
        leaked, kept, pixels = _rotate(with_cuts, own, score)
        blind_leaked, blind_kept, blind_pixels = _rotate(
            Replay(clip, engine, options, has_cuts=False), own, score
        )
        # A person who is in two composites is one target.
        others = {person.name: person for person in people if composite.name not in person.shown_in}
        strangers = {person: galleries[person] for person in others.values()}
        pairs = list(compare_foreign([with_cuts], strangers, score))
        yield CompositeGrades(
            clip.name, len(own), leaked, kept, blind_leaked, blind_kept, pixels + blind_pixels, pairs
        )


def _people(composites: Sequence[Composite]) -> Iterator[Person]:
    shown_in: dict[str, set[str]] = {}
    for composite in composites:
        for target in composite.targets:
            shown_in.setdefault(target.person, set()).add(composite.name)
    for composite in composites:
        for target in composite.targets:
            yield Person(
                composite.name,
                target.person,
                frozenset(shown_in[target.person]),
                target.picture.read_bytes(),
                composite.truth_of(target),
            )


def _rotate(
    replay: Replay, galleries: Mapping[Person, Gallery], score: ModuleType
) -> tuple[Share, Share, int]:
    """Return the leaked faces and the visible faces of targets, by masks, and the leaked faces by pixels."""
    times = [frame.pts or 0 for frame in read_frames(str(replay.clip.video))]
    leaked, kept, pixels = [], [], 0
    for person, gallery in galleries.items():
        faces = replay.decide(gallery)
        by_role = visible_by_masks(faces, times, person.truth)
        leaked.append(by_role[0])
        kept.append(by_role[1])
        if by_role[0].count:
            with tempfile.TemporaryDirectory(prefix="defacer-quality-") as folder:
                grades = grade(replay.clip.video, faces, person.truth, Path(folder), score)
            pixels += grades.leaked.count
    return pooled(leaked), pooled(kept), pixels


def composites_table(rows: Iterable[CompositeGrades]) -> str:
    head = [
        "composite", "targets", "leaked", "target kept", "leaked, no cut detector",
        "target kept, no cut detector", "leaked, by pixels", "foreign pairs with a kept track",
    ]  # fmt: skip
    rows = list(rows)
    lines = [
        [
            row.name, row.targets, row.leaked, row.kept, row.leaked_without_cuts, row.kept_without_cuts,
            row.leaked_pixels, Share(sum(pair.kept_tracks > 0 for pair in row.pairs), len(row.pairs)),
        ]
        for row in rows
    ]  # fmt: skip
    pairs = [pair for row in rows for pair in row.pairs]
    lines.append(
        [
            "all", sum(row.targets for row in rows), pooled(row.leaked for row in rows),
            pooled(row.kept for row in rows), pooled(row.leaked_without_cuts for row in rows),
            pooled(row.kept_without_cuts for row in rows), sum(row.leaked_pixels for row in rows),
            Share(sum(pair.kept_tracks > 0 for pair in pairs), len(pairs)),
        ]
    )  # fmt: skip
    return table(head, lines)
