"""The engine: hold the models, and run the steps that need them.

A video takes three steps. The detection pass finds faces in each segment. Linking follows them through the whole video
and decides which are kept. Redaction hides all others in each segment. For a live picture, `follow` does the first two
steps window by window.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from defacer.engine.corrections.follow_box import follow_box
from defacer.engine.corrections.look_again import look_again
from defacer.engine.corrections.sensitive_detector import SensitiveDetector
from defacer.engine.corrections.span_search import TimeSpan
from defacer.engine.media.pictures.still_image import decode_picture
from defacer.engine.media.reader import Segment
from defacer.engine.models.arrays import Detection, Detector
from defacer.engine.models.detector import make_detector
from defacer.engine.models.embedding import Recognizer
from defacer.engine.models.recognizer import make_recognizer
from defacer.engine.models.sface import SFACE_LANDMARKS
from defacer.engine.models.yunet import YuNet
from defacer.engine.options import Options
from defacer.engine.recognition import same_person
from defacer.engine.recognition.gallery import Gallery, Picture, TargetFace, make_gallery
from defacer.engine.recognition.target_face import locate_face
from defacer.engine.runtime.malloc import limit_heap
from defacer.engine.runtime.prefetch import limit_opencv
from defacer.engine.streaming import LiveSnapshot, follow
from defacer.engine.tracking import detection_pass as first_pass
from defacer.engine.tracking.detection_pass import Targets
from defacer.engine.tracking.identity import limits_of
from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.report.compact_boxes import BoxAt
from defacer.report.edits import AddedTrack

WARM_UP_ROWS, WARM_UP_COLUMNS = 384, 640  # the size of a 16:9 frame in the detection pass
WARM_UP_FACE = Detection(np.array([0, 0, 112, 112], np.float32), 1.0, SFACE_LANDMARKS)


class Engine:
    """The models. Each is loaded once, at its first use."""

    def __init__(self, weights_dir: Path | None = None):
        limit_heap()
        limit_opencv()
        self._weights_dir = weights_dir
        self._detectors: dict[str, Detector] = {}
        self._checker: Detector | None = None
        self._sensitive: Detector | None = None
        self._recognizers: dict[str, Recognizer] = {}

    def detector(self, name: str) -> Detector:
        """Return the detector of that name."""
        if name not in self._detectors:
            self._detectors[name] = make_detector(name, self._weights_dir)
        return self._detectors[name]

    def drop_detectors(self) -> None:
        """Free the detectors after the gallery is made. They are loaded again at their next use.

        A network is compiled for each size of a picture (up to 45 MB), and frames of a video have other sizes.
        """
        self._detectors.clear()

    def checker(self) -> Detector:
        """Return the detector that checks results."""
        if self._checker is None:
            self._checker = YuNet(self._weights_dir)
        return self._checker

    def recognizer(self, name: str) -> Recognizer:
        """Return the recognizer of that name. Raise EngineError for an unknown name."""
        if name not in self._recognizers:
            self._recognizers[name] = make_recognizer(name, self._weights_dir)
        return self._recognizers[name]

    def preload_models(self, options: Options) -> None:
        """Load the models for these options and run each once, so that the first segment does not wait for them."""
        picture = np.zeros((WARM_UP_ROWS, WARM_UP_COLUMNS, 3), np.uint8)
        self.detector(options.detector).detect([picture])
        self.checker().detect([picture])
        recognizer = self.recognizer(options.recognizer)
        recognizer.embed([recognizer.crop(picture, WARM_UP_FACE)])

    def gallery(
        self,
        pictures: Sequence[Picture],
        recognizer: str,
        model_lock: AbstractContextManager[object] | None = None,
        faces: Sequence[TargetFace] = (),
    ) -> Gallery:
        """Return embeddings of the targets' pictures and `faces`.

        Raise PictureError that names an unusable picture, or one that does not look like the others of its person.
        `model_lock` is a lock that is held while a model is loaded or runs. It is entered more than once.
        """
        model_lock = model_lock or nullcontext()
        with model_lock:
            model = self.recognizer(recognizer)
        gallery = make_gallery(pictures, self.detector, model, model_lock, faces)
        if len({picture.person for picture in pictures}) < len(pictures):
            compared = gallery
            if recognizer != same_person.RECOGNIZER:
                with model_lock:
                    model = self.recognizer(same_person.RECOGNIZER)
                compared = make_gallery(pictures, self.detector, model, model_lock)
            same_person.require_same_person(compared, [picture.label for picture in pictures])
        return gallery

    def check_pictures(self, pictures: Sequence[Picture]) -> None:
        """Raise PictureError as `gallery` does. Load the recognizer only to compare several pictures of a person."""
        if len({picture.person for picture in pictures}) < len(pictures):
            self.gallery(pictures, same_person.RECOGNIZER)
            return
        for picture in pictures:
            locate_face(decode_picture(picture.data, picture.label), picture.label, self.detector)

    def detect_segment(
        self,
        segment: Segment,
        gallery: Gallery | None,
        options: Options,
        progress: Callable[[int], None] = lambda _: None,
    ) -> SegmentDetections:
        """Detect the faces of a segment: see `detection_pass.detect_segment`. Embed none without a gallery."""
        return first_pass.detect_segment(
            segment,
            *self._detector_and_targets(gallery, options),
            progress,
            options.on_decode_error == "hide",
            self.checker,
        )

    def detect_subsegments(
        self,
        segment: Segment,
        gallery: Gallery | None,
        options: Options,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Iterator[SegmentDetections]:
        """Detect faces, one subsegment at a time: see `detection_pass.detect_subsegments`."""
        models = self._detector_and_targets(gallery, options)
        hides_damage = options.on_decode_error == "hide"
        return first_pass.detect_subsegments(segment, *models, progress, hides_damage, self.checker)

    def sensitive_detector(self) -> Detector:
        """Return the detector for a person's corrections: see `corrections.sensitive_detector`."""
        if self._sensitive is None:
            self._sensitive = SensitiveDetector(self._weights_dir)
        return self._sensitive

    def follow_box(
        self, span: TimeSpan, anchors: Sequence[BoxAt], progress: Callable[[int], None] = lambda _: None
    ) -> AddedTrack:
        """Return a mask that follows the face inside the drawn boxes: see `corrections.follow_box`."""
        return follow_box(
            span, anchors, self.sensitive_detector(), lambda: self.recognizer("sface"), progress
        )

    def look_again(
        self, span: TimeSpan, progress: Callable[[int], None] = lambda _: None
    ) -> list[AddedTrack]:
        """Return hidden tracks of faces that the detection pass missed: see `corrections.look_again`."""
        return look_again(span, self.sensitive_detector(), progress)

    def follow(
        self, frames: Iterable[av.VideoFrame], time_base: Fraction, gallery: Gallery | None, options: Options
    ) -> Iterator[LiveSnapshot]:
        """Detect, link and decide while frames arrive: see `streaming.follow`."""
        return follow(frames, time_base, *self._detector_and_targets(gallery, options), self.checker)

    def _detector_and_targets(
        self, gallery: Gallery | None, options: Options
    ) -> tuple[Detector, Targets | None]:
        detector = self.detector(options.detector)
        if gallery is None or not gallery.people:
            return detector, None
        recognizer = self.recognizer(options.recognizer)
        gallery.require_recognizer(recognizer.version)
        return detector, Targets(gallery, recognizer, limits_of(options))
