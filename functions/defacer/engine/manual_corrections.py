"""Find the tracks that a person adds to a report: drawn masks, and faces in a time span that is searched again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from defacer.engine.corrections.drawn_mask import DrawnMask, SecondsRange
from defacer.engine.corrections.span_search import FrameCallback, TimeSpan
from defacer.engine.engine import Engine
from defacer.engine.media.clock.clocked_source import Source
from defacer.engine.models import weights
from defacer.engine.options import Options
from defacer.engine.render_file import StageCallback
from defacer.report.compact_boxes import BoxAt
from defacer.report.edits import MAX_ADDED, AddedTrack
from defacer.report.faces import Faces

FOLLOWING, LOOKING_AGAIN = "following drawn boxes", "looking again"


@dataclass(frozen=True)
class Corrections:
    """Masks that a person draws, and time ranges to search again."""

    masks: tuple[DrawnMask, ...] = ()
    searches: tuple[SecondsRange, ...] = ()

    @property
    def max_added(self) -> int:
        """The largest number of tracks that they add."""
        return MAX_ADDED if self.searches else len(self.masks)

    def find_tracks(
        self, source: Source, faces: Faces, options: Options, progress: StageCallback = lambda *_: None
    ) -> list[AddedTrack]:
        """Return the tracks to add. `faces` and `options` are those of the report.

        Raises ArgumentError for times and boxes outside the video, and VideoError.
        """
        engine = Engine()

        def fetch_weights() -> None:
            weights.fetch_all(progress=lambda line: progress(line, 0, None))

        def follow(span: TimeSpan, anchors: Sequence[BoxAt], callback: FrameCallback) -> AddedTrack:
            fetch_weights()
            return engine.follow_box(span, anchors, callback)

        past_damage = options.on_decode_error == "hide"
        for mask in self.masks:  # before any of them is followed, which takes time
            mask.place(source, faces, past_damage=past_damage)
        spans = [part.to_span(source, faces, past_damage=past_damage) for part in self.searches]

        def show(stage: str) -> Callable[[int], None]:
            return lambda done: progress(stage, done, None)

        found = [
            mask.to_track(source, faces, follow, show(FOLLOWING), past_damage=past_damage)
            for mask in self.masks
        ]
        for span in spans:
            fetch_weights()
            found += engine.look_again(span, show(LOOKING_AGAIN))
        return found
