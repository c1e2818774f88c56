"""Reimplement the algorithm of the 2019 project from its description: it processes each frame alone.

MTCNN detects faces on every frame at quarter size, FaceNet embeds every face, and every face beyond a distance from the
target is blurred. OpenCV reads and writes the video as in 2019, without sound and at a constant frame rate.

    python -m tests.benchmarks.algorithm_2019 IN.mp4 OUT.mp4 --target ME.jpg
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from cv2.typing import MatLike
from facenet_pytorch import MTCNN, InceptionResnetV1

from defacer.engine.models import weights
from defacer.engine.output_paths import check_outputs

Image = npt.NDArray[np.uint8]

QUARTER = 0.25  # of each side: 320 x 180 pixels of 1280 x 720
THRESHOLDS = [0.6, 0.75, 0.9]  # MTCNN's three networks
MIN_PROBABILITY = 0.97
SAME_PERSON = 0.8
CROP_SIZE = 160  # pixels, the input of FaceNet
BLUR_KERNEL = (99, 99)  # pixels
BLUR_SIGMA = 30


class Algorithm2019:
    """The models and the target's embedding."""

    def __init__(self, target: Path):
        self._mtcnn = MTCNN(keep_all=True, min_face_size=20, thresholds=THRESHOLDS)
        self._facenet = InceptionResnetV1(pretrained=None).eval()
        self._facenet.load_state_dict(weights.facenet("facenet-casia"), strict=False)
        picture = cv2.imread(str(target)).astype(np.uint8)
        scale = 640 / max(picture.shape[:2])
        boxes = self._faces(cv2.resize(picture, None, fx=scale, fy=scale)) / scale
        if not len(boxes):
            raise SystemExit(f"error: MTCNN detects no face in {target.name}. Choose another --target-clip.")
        self._target = self._embeddings(picture, boxes[:1])[0]

    def redact(self, frame: Image) -> None:
        """Blur every face that is not the target's, in place."""
        boxes = self._faces(cv2.resize(frame, None, fx=QUARTER, fy=QUARTER)) / QUARTER
        if not len(boxes):
            return
        distances = np.linalg.norm(self._embeddings(frame, boxes) - self._target, axis=1)
        for box, distance in zip(boxes, distances, strict=True):
            if distance > SAME_PERSON:
                region = _crop(frame, box)
                region[:] = cv2.GaussianBlur(region, BLUR_KERNEL, BLUR_SIGMA)

    def _faces(self, image: MatLike) -> npt.NDArray[np.float64]:
        boxes, probabilities = self._mtcnn.detect(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        if boxes is None:
            return np.zeros((0, 4))
        return np.asarray(boxes[probabilities >= MIN_PROBABILITY], np.float64)

    def _embeddings(self, image: Image, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Embed one face after another, as the 2019 project did."""
        return np.concatenate([self._embedding(_crop(image, box)) for box in boxes])

    def _embedding(self, face: Image) -> npt.NDArray[np.float32]:
        crop = cv2.resize(face, (CROP_SIZE, CROP_SIZE))[..., ::-1].copy()
        batch = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            return self._facenet((batch - 127.5) / 128).numpy()


def _crop(image: Image, box: npt.NDArray[np.float64]) -> Image:
    """Return the part of the image inside the box, at least one pixel."""
    height, width = image.shape[:2]
    x1, y1 = min(max(int(box[0]), 0), width - 1), min(max(int(box[1]), 0), height - 1)
    return image[y1 : max(int(box[3]), y1 + 1), x1 : max(int(box[2]), x1 + 1)]


def _frames(capture: cv2.VideoCapture) -> Iterator[Image]:
    while True:
        success, frame = capture.read()
        if not success:
            return
        yield frame.astype(np.uint8)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.algorithm_2019",
        description=__doc__.splitlines()[0],
        allow_abbrev=False,
    )
    parser.add_argument("video", type=Path, metavar="IN", help="the video to read")
    parser.add_argument("out", type=Path, metavar="OUT", help="the MP4 to write")
    parser.add_argument(
        "--target", type=Path, required=True, metavar="PICTURE", help="the person who stays visible"
    )
    arguments = parser.parse_args()
    check_outputs([arguments.out], [arguments.video, arguments.target], force=False)
    algorithm = Algorithm2019(arguments.target)
    capture = cv2.VideoCapture(str(arguments.video))
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    rate = capture.get(cv2.CAP_PROP_FPS)
    writer = cv2.VideoWriter(str(arguments.out), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    for frame in _frames(capture):
        algorithm.redact(frame)
        writer.write(frame)
    capture.release()
    writer.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
