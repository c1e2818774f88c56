"""Choose match thresholds on half of the clips and check them on the other half, both ways.

    python -m tests.quality.thresholds [--views FOLDER]

Every target picture, given or cut from a clip (people.py), is compared with every face track of the truth. The tracks
of other people in the same clip and all tracks of clips without that person are strangers. A track's distance is the
mean of its three nearest views, as in production, but of all views of the track.

The cosine of strangers is about normally distributed, so a normal distribution fitted to it estimates rates below one
in the number of pairs. A rate is never given lower than it was counted.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from defacer.engine.engine import Engine
from defacer.engine.media.reader import read_frames
from defacer.engine.models.arrays import compute_overlaps
from defacer.engine.models.recognizer import RECOGNIZERS
from defacer.engine.options import Options
from defacer.engine.tracking.identity import BEST_VIEWS
from defacer.engine.tracking.segment_detections import SegmentDetections
from tests.quality.clips import Clip, load_clips
from tests.quality.figures import Share, table
from tests.quality.people import Face, Person, gallery_of, given_target, names_in, people_of
from tests.quality.replay import Replay

SAME_FACE = 0.5  # overlap of a detection with a face of the truth
RATES = (1e-2, 1e-3, 1e-4)  # of strangers' tracks that a threshold is chosen to keep
DISTANCES = np.arange(0.60, 1.201, 0.05)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """A target picture and a face track. `half` is 0 or 1, None if picture and track belong to different halves."""

    half: int | None
    is_target: bool
    distance: float
    views: int


@dataclass(frozen=True)
class Appearance:
    """The views of one person in one track of the truth: their frames and embeddings (N, D)."""

    track: int
    frames: tuple[int, ...]
    embeddings: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class Distances:
    """The distances of targets and of strangers, and the views of each target's track."""

    targets: Floats
    views: NDArray[np.int64]
    strangers: Floats

    @classmethod
    def of(cls, comparisons: Iterable[Comparison]) -> "Distances":
        chosen = list(comparisons)
        targets = [one for one in chosen if one.is_target]
        return cls(
            np.array([one.distance for one in targets]),
            np.array([one.views for one in targets], np.int64),
            np.array([one.distance for one in chosen if not one.is_target]),
        )

    def kept_views(self, threshold: float) -> Share:
        return Share(int(self.views[self.targets <= threshold].sum()), int(self.views.sum()))

    def kept_strangers(self, threshold: float) -> Share:
        return Share(int((self.strangers <= threshold).sum()), len(self.strangers))

    def stranger_rate(self, threshold: float) -> float:
        """Return the share of strangers that are at least as near, by the fit or as counted, whichever is larger."""
        cosines = _cosine(self.strangers)
        fitted = 1 - NormalDist(cosines.mean(), cosines.std()).cdf(float(_cosine(threshold)))
        return max(fitted, self.kept_strangers(threshold).value)

    def threshold_for(self, rate: float) -> float:
        """Return the largest distance that keeps no more than this share of strangers."""
        candidates = np.arange(0.3, 1.4, 0.005)
        return float(max(distance for distance in candidates if self.stranger_rate(distance) <= rate))

    def margin(self) -> float:
        """Return how far the means of targets and strangers are apart, in their root mean square deviation."""
        apart = self.strangers.mean() - self.targets.mean()
        return float(apart / np.sqrt((self.targets.var() + self.strangers.var()) / 2))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.quality.thresholds", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument(
        "--views",
        type=Path,
        metavar="FOLDER",
        help="keep the embeddings here for the next run; delete them later",
    )
    parser.add_argument("--recognizer", choices=RECOGNIZERS, default=Options().recognizer)
    arguments = parser.parse_args()
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    folder = Path(os.environ["DEFACER_EVAL"])
    clips, engine = load_clips(folder), Engine()
    options = Options(recognizer=arguments.recognizer)
    comparisons = compare(clips, folder, engine, options, arguments.views)
    print(f"{halves_table(comparisons)}\n\n{curve_table(Distances.of(comparisons))}")
    return 0


def compare(
    clips: Sequence[Clip], folder: Path, engine: Engine, options: Options, views: Path | None
) -> list[Comparison]:
    """Compare every target picture with every face track of the clips."""
    half_of = {clip.name: number % 2 for number, clip in enumerate(clips)}
    people = [person for clip in clips for person in (given_target(clip), *people_of(clip, folder)) if person]
    embeddings = {person: gallery_of(person, engine, options).embeddings for person in people}
    comparisons = []
    for clip in clips:
        appearances = _appearances(clip, folder, _found(clip, engine, options, views))
        for person in people:
            half = half_of[clip.name] if half_of[clip.name] == half_of[person.clip] else None
            for appearance in appearances:
                role, seen = _role(person, clip, appearance)
                if role == "ignore":
                    continue
                distances = np.linalg.norm(seen[:, None] - embeddings[person][None], axis=2).min(axis=1)
                nearest = float(np.sort(distances)[:BEST_VIEWS].mean())
                comparisons.append(Comparison(half, role == "target", nearest, len(seen)))
    return comparisons


def _found(clip: Clip, engine: Engine, options: Options, views: Path | None) -> SegmentDetections:
    """Return the detections with every view embedded, from the folder of an earlier run if they are there."""
    kept = views and views / f"{clip.name}-{options.recognizer}.npz"
    if kept and kept.exists():
        return SegmentDetections.from_bytes(kept.read_bytes())
    found = Replay(clip, engine, options).found
    if kept:
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(found.to_bytes())
    return found


def _appearances(clip: Clip, folder: Path, found: SegmentDetections) -> list[Appearance]:
    """Return the views of each track of the truth, one appearance for each person that people.json names in it."""
    numbers = {frame.pts: number for number, frame in enumerate(read_frames(str(clip.video)))}
    names = names_in(clip, folder)
    by_frame: dict[int, list[Face]] = {}
    for face in clip.truth["faces"]:
        by_frame.setdefault(face[0], []).append(face)
    views: dict[tuple[int, str], dict[int, NDArray[np.float32]]] = {}
    for sample in found.samples:
        number = numbers[sample.pts]
        labeled = by_frame.get(number, [])
        boxes = np.array([box for _, _, _, *box in labeled], np.float32).reshape(-1, 4)
        for face in sample.faces:
            shares = compute_overlaps(face.box, boxes) if len(boxes) else np.zeros(0)
            if face.embedding is not None and len(shares) and shares.max() >= SAME_FACE:
                track = labeled[int(shares.argmax())][1]
                views.setdefault((track, names.get((number, track), "")), {})[number] = face.embedding
    return [
        Appearance(track, tuple(seen), np.stack(list(seen.values()))) for (track, _), seen in views.items()
    ]


def _role(person: Person, clip: Clip, appearance: Appearance) -> tuple[str, NDArray[np.float32]]:
    """Return the role of the appearance with this target, and the embeddings of its graded views."""
    if clip.name != person.clip:
        return "ignore" if clip.name in person.shown_in else "other", appearance.embeddings
    roles = {(frame, track): role for frame, track, role, *_ in person.truth["faces"]}
    own = [roles[frame, appearance.track] for frame in appearance.frames]
    graded = [number for number, role in enumerate(own) if role != "ignore"]
    return own[graded[0]] if graded else "ignore", appearance.embeddings[graded]


def halves_table(comparisons: Sequence[Comparison]) -> str:
    first, second = (Distances.of(one for one in comparisons if one.half == half) for half in (0, 1))
    lines = []
    for rate in RATES:
        for chosen, checked, name in ((first, second, "first"), (second, first, "second")):
            threshold = chosen.threshold_for(rate)
            lines.append(
                [
                    f"{10_000 * rate:.0f} in 10,000", f"{name}: {threshold:.3f}", checked.kept_strangers(threshold),
                    checked.kept_views(threshold), f"{checked.margin():.1f}",
                ]
            )  # fmt: skip
    head = ["strangers kept, wanted", "chosen on", "strangers' tracks kept, other half", "targets' views kept",
            "margin, standard deviations"]  # fmt: skip
    return table(head, lines)


def curve_table(distances: Distances) -> str:
    lines = [
        [
            f"{threshold:.2f}", _per_10_000(distances.stranger_rate(threshold)),
            distances.kept_strangers(threshold), distances.kept_views(threshold),
        ]
        for threshold in map(float, DISTANCES)
    ]  # fmt: skip
    head = ["distance", "strangers in 10,000 this near", "strangers' tracks kept", "targets' views kept"]
    return f"{table(head, lines)}\n\nmargin: {distances.margin():.1f} standard deviations"


def _per_10_000(rate: float) -> str:
    """Return the rate with two digits, such as "310"."""
    return "below 0.01" if rate < 1e-6 else f"{float(f'{10_000 * rate:.2g}'):,g}"


def _cosine(distance: Floats | float) -> Floats:
    return np.asarray(1 - np.square(distance) / 2, np.float64)


if __name__ == "__main__":
    sys.exit(main())
