"""Variations of a span: other sizes, crops, light, noise, movement, times, edits and covered faces."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from tests.quality.spans import CRF, Face, Image, Span, SpanFrame, warped

SKIN, CLOTH, BLACK, WHITE = (196, 150, 120), (90, 150, 190), (12, 12, 12), (240, 240, 240)
LAMPS = ((1.3, 0.35, 0.5), (0.3, 0.5, 1.4), (0.9, 0.3, 1.0))  # colors of stage light
OTHER_TRACKS = 1000  # added to the tracks of the second span
MIN_SHOWN = 0.35  # a face of a smaller share in a dissolve is not graded


@dataclass(frozen=True)
class Variation:
    """What `vary` does with a span and a second one, and the rate factor of the encoder.

    A variation that `needs_movement` has no effect on a single frame.
    """

    vary: Callable[[Span, Span], Iterable[SpanFrame]]
    meaning: str
    crf: str = CRF
    needs_movement: bool = False


def _size(frame: SpanFrame) -> tuple[int, int]:
    return frame.image.shape[1], frame.image.shape[0]


def _affine(scale: float, left: float = 0, top: float = 0) -> Image:
    return np.array([[scale, 0, left], [0, scale, top]], np.float64)


def scaled(side: int, span: Span, _: Span) -> Iterator[SpanFrame]:
    """Scale the longer side to `side` pixels."""
    scale = side / max(_size(span[0]))
    width, height = (round(one * scale) // 2 * 2 for one in _size(span[0]))
    size = width, height
    for frame in span:
        width, height = _size(frame)
        matrix = np.array([[size[0] / width, 0, 0], [0, size[1] / height, 0]], np.float64)
        yield warped(frame, matrix, size)


def _main_face(span: Span) -> Face | None:
    """Return the largest face of the first frame that has one."""
    for frame in span:
        if found := [face for face in frame.faces if face.role != "ignore"]:
            return max(found, key=lambda face: face.box[3] - face.box[1])
    return None


def cropped(aspect: float, heights: float, side: int, span: Span, _: Span) -> Iterator[SpanFrame]:
    """Cut out a window of some face heights around the largest face; with 0 as high as the frame."""
    width, height = _size(span[0])
    face = _main_face(span)
    x1, y1, x2, y2 = face.box if face else (0, 0, width, height)
    rows = min(height, heights * (y2 - y1) or height, width / aspect)
    columns = rows * aspect
    left = min(max(0, (x1 + x2) / 2 - columns / 2), width - columns)
    top = min(max(0, (y1 + y2) / 2 - rows / 2), height - rows)
    scale = side / max(rows, columns)
    size = round(columns * scale) // 2 * 2, round(rows * scale) // 2 * 2
    for frame in span:
        yield warped(frame, _affine(scale, -left * scale, -top * scale), size)


def boxed(share_x: float, share_y: float, span: Span, _: Span) -> Iterator[SpanFrame]:
    """Show the picture smaller, in the middle of a black frame with these shares left for it."""
    width, height = _size(span[0])
    scale = min(share_x, share_y)
    out = round(width * scale / share_x) // 2 * 2, round(height * scale / share_y) // 2 * 2
    left, top = (out[0] - width * scale) / 2, (out[1] - height * scale) / 2
    for frame in span:
        yield warped(frame, _affine(scale, left, top), out)


def mirrored(span: Span, _: Span) -> Iterator[SpanFrame]:
    for frame in span:
        width = _size(frame)[0]
        yield warped(frame, np.array([[-1, 0, width - 1], [0, 1, 0]], np.float64), _size(frame))


def rotated(degrees: float, span: Span, _: Span) -> Iterator[SpanFrame]:
    """Turn the picture around its middle, without a change of size. Corners are black."""
    for frame in span:
        width, height = _size(frame)
        yield warped(frame, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), (width, height))


def turned_faces(degrees: float, span: Span, _: Span) -> Iterator[SpanFrame]:
    """Turn the picture around its largest face, so that this face stays in the frame."""
    face = _main_face(span)
    width, height = _size(span[0])
    x1, y1, x2, y2 = face.box if face else (0, 0, width, height)
    matrix = cv2.getRotationMatrix2D(((x1 + x2) / 2, (y1 + y2) / 2), degrees, 1)
    right, down = width / 2 - (x1 + x2) / 2, height / 2 - (y1 + y2) / 2
    matrix = matrix + np.array([[0, 0, 0.6 * right], [0, 0, 0.6 * down]])
    for frame in span:
        yield warped(frame, matrix, _size(frame))


def shaken(span: Span, _: Span) -> Iterator[SpanFrame]:
    """Shake the camera: each frame is moved by up to 3 % and turned by up to 3 degrees."""
    random = np.random.default_rng(1)
    for frame in span:
        width, height = _size(frame)
        x, y, turn = random.uniform(-1, 1, 3)
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 3 * turn, 1.08)
        matrix = matrix + np.array([[0, 0, 0.03 * width * x], [0, 0, 0.03 * height * y]])
        yield warped(frame, matrix, (width, height))


def panned(span: Span, _: Span) -> Iterator[SpanFrame]:
    """Whip the camera to and fro: half of the frame's width in a quarter of a second, then rest."""
    for frame in span:
        width, height = _size(frame)
        phase = frame.seconds % 1.0
        share = min(phase / 0.25, 1, max(0.0, (1.0 - phase) / 0.25))
        blur = 31 if 0 < share < 1 else 1
        moved = warped(frame, _affine(1, (share - 0.5) * width / 2), (width, height))
        yield replace(moved, image=cv2.blur(moved.image, (blur, 1)))


def zoomed(span: Span, _: Span) -> Iterator[SpanFrame]:
    """Zoom slowly into the middle, to 1.6 times."""
    for number, frame in enumerate(span):
        width, height = _size(frame)
        scale = 1 + 0.6 * number / len(span)
        matrix = _affine(scale, width / 2 * (1 - scale), height / 2 * (1 - scale))
        yield warped(frame, matrix, (width, height))


def by_frame(change: Callable[[Image, int], Image], span: Span, _: Span) -> Iterator[SpanFrame]:
    """Change the image of each frame. `change` gets the number of the frame."""
    for number, frame in enumerate(span):
        yield replace(frame, image=change(frame.image, number))


def _curve(image: Image, function: Callable[[Image], Image]) -> Image:
    levels = np.arange(256, dtype=np.float64)
    return cv2.LUT(image, np.clip(function(levels), 0, 255).astype(np.uint8))


def _noisy(image: Image, number: int, gain: float, sigma: float) -> Image:
    noise = np.random.default_rng(number).normal(0, sigma, image.shape).astype(np.float32)
    return np.clip(image * np.float32(gain) + noise, 0, 255).astype(np.uint8)


def _tinted(image: Image, color: tuple[float, float, float]) -> Image:
    """Light the scene with one color: its brightness in this color."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return np.clip(0.8 * gray * np.array(color) + 0.2 * image * np.array(color), 0, 255).astype(np.uint8)


def _stage(image: Image, number: int) -> Image:
    light = np.array(LAMPS[number // 5 % 3]) * (0.55 if number % 7 < 5 else 0.2)
    return np.clip(image * light, 0, 255).astype(np.uint8)


def _gray(image: Image) -> Image:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _pixelated(image: Image, factor: int) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def _side_lit(image: Image) -> Image:
    width = image.shape[1]
    waves = 0.55 + 0.5 * np.sin(np.arange(width) / width * 6 * np.pi)
    return np.clip(image * np.clip(waves, 0.06, 1.2)[None, :, None], 0, 255).astype(np.uint8)


def every(step: int, stretch: float, span: Span, _: Span) -> Iterator[SpanFrame]:
    """Show every n-th frame, with times multiplied by `stretch`."""
    for frame in span[::step]:
        yield replace(frame, seconds=frame.seconds * stretch)


def doubled(span: Span, _: Span) -> Iterator[SpanFrame]:
    """Show each frame twice, at twice the rate."""
    ends = [*(frame.seconds for frame in span[1:]), span[-1].seconds + 1 / 30]
    for frame, end in zip(span, ends, strict=True):
        yield frame
        yield replace(frame, seconds=(frame.seconds + end) / 2)


def interlaced(span: Span, _: Span) -> Iterator[SpanFrame]:
    """Take every other row from the next frame but one, as in a video that was not deinterlaced."""
    for frame, later in zip(span, [*span[2:], *span[-2:]], strict=True):
        image = frame.image.copy()
        image[1::2] = later.image[1::2]
        yield replace(frame, image=image)


def _fitted(frame: SpanFrame, size: tuple[int, int]) -> SpanFrame:
    """Return a frame of the second span, scaled and cut to this size. No face in it is a target."""
    width, height = _size(frame)
    scale = max(size[0] / width, size[1] / height)
    matrix = _affine(scale, (size[0] - width * scale) / 2, (size[1] - height * scale) / 2)
    return _as_other(warped(frame, matrix, size))


def _as_other(frame: SpanFrame) -> SpanFrame:
    faces = (
        Face(face.track + OTHER_TRACKS, "other" if face.role == "target" else face.role, face.box)
        for face in frame.faces
    )
    return replace(frame, faces=tuple(faces))


def _weighted(frame: SpanFrame, share: float) -> tuple[Face, ...]:
    return frame.faces if share >= MIN_SHOWN else tuple(replace(face, role="ignore") for face in frame.faces)


def dissolved(seconds: float, span: Span, other: Span) -> Iterator[SpanFrame]:
    """Dissolve into the second span in the middle, in some seconds."""
    middle = span[-1].seconds / 2
    for frame, second in zip(span, other, strict=False):
        share = float(np.clip((frame.seconds - middle) / seconds + 0.5, 0, 1))
        second = _fitted(second, _size(frame))
        image = cv2.addWeighted(frame.image, 1 - share, second.image, share, 0)
        faces = _weighted(frame, 1 - share) + _weighted(second, share)
        yield replace(frame, image=image, faces=faces)


def faded(span: Span, _: Span) -> Iterator[SpanFrame]:
    """Fade in and out in a third of the span each."""
    end = span[-1].seconds
    for frame in span:
        share = float(np.clip(3 * min(frame.seconds, end - frame.seconds) / end, 0, 1))
        image = (frame.image * np.float32(share)).astype(np.uint8)
        yield replace(frame, image=image, faces=_weighted(frame, share))


def split(span: Span, other: Span) -> Iterator[SpanFrame]:
    """Show the middle of both spans side by side."""
    width, height = _size(span[0])
    half = width // 2
    for frame, second in zip(span, other, strict=False):
        left = warped(frame, _affine(1, -(width - half) / 2), (half, height))
        right = warped(_fitted(second, (half, height)), _affine(1), (half, height))
        moved = tuple(face.shifted(half, 0) for face in right.faces)
        image = np.hstack([left.image, right.image])
        yield replace(frame, image=image, faces=(*left.faces, *moved))


def picture_in_picture(span: Span, other: Span) -> Iterator[SpanFrame]:
    """Show the span small, in a corner of the second one."""
    scale = 0.3
    for frame, second in zip(span, other, strict=False):
        width, height = _size(frame)
        back = _fitted(second, (width, height))
        size = round(width * scale), round(height * scale)
        small = warped(frame, np.array([[size[0] / width, 0, 0], [0, size[1] / height, 0]]), size)
        left, top = width - size[0] - width // 40, height - size[1] - width // 40
        image = back.image.copy()
        image[top : top + size[1], left : left + size[0]] = small.image
        placed = tuple(face.shifted(left, top) for face in small.faces)
        behind = tuple(_uncovered(face, left, top, size) for face in back.faces)
        yield replace(frame, image=image, faces=(*placed, *behind))


def _uncovered(face: Face, left: int, top: int, size: tuple[int, int]) -> Face:
    """Return the face with the role "ignore" if the small picture covers a part of it."""
    x1, y1, x2, y2 = face.box
    touches = x2 > left and x1 < left + size[0] and y2 > top and y1 < top + size[1]
    return replace(face, role="ignore") if touches else face


def covered(draw: Callable[[Image, Face, int], None], span: Span, _: Span) -> Iterator[SpanFrame]:
    """Draw something over each face."""
    for number, frame in enumerate(span):
        image = frame.image.copy()
        for face in frame.faces:
            draw(image, face, number)
        yield replace(frame, image=image)


def _points(face: Face, shares: Iterable[tuple[float, float]]) -> Image:
    x1, y1, x2, y2 = face.box
    return np.array([[x1 + x * (x2 - x1), y1 + y * (y2 - y1)] for x, y in shares], np.int32)


def _draw_mask(image: Image, face: Face, _: int) -> None:
    shares = ((0.04, 0.55), (0.5, 0.45), (0.96, 0.55), (0.9, 0.85), (0.5, 1.02), (0.1, 0.85))
    cv2.fillPoly(image, [_points(face, shares)], CLOTH, cv2.LINE_AA)


def _draw_sunglasses(image: Image, face: Face, _: int) -> None:
    for outer, inner in ((0.08, 0.46), (0.54, 0.92)):
        center, corner = _points(face, (((outer + inner) / 2, 0.4), (inner, 0.53)))
        axes = max(1, int(corner[0] - center[0])), max(1, int(corner[1] - center[1]))
        cv2.ellipse(image, (int(center[0]), int(center[1])), axes, 0, 0, 360, BLACK, -1, cv2.LINE_AA)
    bar = _points(face, ((0.02, 0.36), (0.98, 0.4)))
    (left, top), (right, bottom) = ((int(x), int(y)) for x, y in bar)
    cv2.rectangle(image, (left, top), (right, bottom), BLACK, -1)


def _draw_cap(image: Image, face: Face, _: int) -> None:
    shares = ((-0.1, 0.3), (-0.02, -0.25), (0.5, -0.4), (1.02, -0.25), (1.1, 0.3))
    cv2.fillPoly(image, [_points(face, shares)], (120, 30, 40), cv2.LINE_AA)


def _draw_cap_and_glasses(image: Image, face: Face, number: int) -> None:
    _draw_sunglasses(image, face, number)
    _draw_cap(image, face, number)


def _draw_helmet(image: Image, face: Face, number: int) -> None:
    _draw_mask(image, face, number)
    _draw_cap(image, face, number)


def _draw_hand(image: Image, face: Face, number: int) -> None:
    if (number // 15 + face.track) % 2:
        x1, y1, x2, y2 = (int(side) for side in face.box)
        center = ((x1 + x2) // 2, y1 + (y2 - y1) * 8 // 10)
        axes = (max(1, (x2 - x1) * 6 // 10), max(1, (y2 - y1) // 3))
        cv2.ellipse(image, center, axes, 15, 0, 360, SKIN, -1)


def _draw_half(image: Image, face: Face, _: int) -> None:
    shares = ((0.5, -0.2), (1.3, -0.2), (1.3, 1.2), (0.5, 1.2))
    cv2.fillPoly(image, [_points(face, shares)], (70, 70, 60))


def _draw_subtitle(image: Image, face: Face, _: int) -> None:
    x1, y1, x2, y2 = face.box
    left, bottom = int(x1 - 0.4 * (x2 - x1)), int(y1 + 0.75 * (y2 - y1))
    scale = (y2 - y1) / 110
    for color, width in ((BLACK, 4), (WHITE, 2)):
        thickness = max(1, round(width * scale))
        cv2.putText(image, "and so it was", (left, bottom), 0, scale, color, thickness, cv2.LINE_AA)


def _draw_bars(image: Image, face: Face, _: int) -> None:
    """Draw a fence in front of a face."""
    x1, y1, x2, y2 = face.box
    step = max(3.0, (x2 - x1) / 4)
    for x in np.arange(x1 - step, x2 + step, step):
        cv2.line(image, (int(x), int(y1 - 20)), (int(x), int(y2 + 20)), (60, 60, 60), max(1, int(step / 3)))


def _lit(color: tuple[float, float, float], meaning: str) -> Variation:
    return Variation(partial(by_frame, lambda image, _: _tinted(image, color)), meaning)


def _leveled(function: Callable[[Image], Image], meaning: str) -> Variation:
    return Variation(partial(by_frame, lambda image, _: _curve(image, function)), meaning)


def _cover(draw: Callable[[Image, Face, int], None], meaning: str) -> Variation:
    return Variation(partial(covered, draw), meaning)


VARIATIONS: dict[str, Variation] = {
    "480": Variation(partial(scaled, 480), "480 pixels wide"),
    "320": Variation(partial(scaled, 320), "320 pixels wide"),
    "1920": Variation(partial(scaled, 1920), "1,920 pixels wide"),
    "2560": Variation(partial(scaled, 2560), "2,560 pixels wide"),
    "zoom-in": Variation(partial(cropped, 16 / 9, 2.2, 1280), "cut to 2.2 heights of a face"),
    "close-up": Variation(partial(cropped, 16 / 9, 1.1, 1280), "cut to 1.1 heights of a face"),
    "portrait": Variation(partial(cropped, 9 / 16, 0, 1280), "cut to 9:16"),
    "square": Variation(partial(cropped, 1, 3, 640), "cut to a square"),
    "letterbox": Variation(partial(boxed, 1, 0.75), "black bars above and below"),
    "pillarbox": Variation(partial(boxed, 0.32, 1), "black bars at the sides, as a portrait video in 16:9"),
    "mirror": Variation(mirrored, "mirrored"),
    **{
        f"turn{degrees}": Variation(partial(turned_faces, degrees), f"turned by {degrees} degrees")
        for degrees in (10, 20, 30, 45, 60, -45, 90, 120, 180)
    },
    "shake": Variation(shaken, "a shaking camera", needs_movement=True),
    "pan": Variation(panned, "a camera that moves by half of the frame in 0.25 s", needs_movement=True),
    "slow-zoom": Variation(zoomed, "a slow zoom to 1.6 times", needs_movement=True),
    "dark": _leveled(lambda x: 0.22 * x, "22 % of the light"),
    "darker": _leveled(lambda x: 0.1 * x, "10 % of the light"),
    "overexposed": _leveled(lambda x: 2.2 * x + 20, "2.2 times the light"),
    "fog": _leveled(lambda x: 150 + 0.25 * x, "a quarter of the contrast, gray"),
    "contrast": _leveled(lambda x: 128 + 2.5 * (x - 128), "2.5 times the contrast"),
    "inverted": _leveled(lambda x: 255 - x, "negative"),
    "side-light": Variation(partial(by_frame, lambda image, _: _side_lit(image)), "hard shadows"),
    "noise": Variation(partial(by_frame, partial(_noisy, gain=1, sigma=30)), "noise of 30 levels"),
    "dark-noise": Variation(
        partial(by_frame, partial(_noisy, gain=0.25, sigma=14)), "a quarter of the light, noise of 14 levels"
    ),
    "motion-blur": Variation(
        partial(by_frame, lambda image, _: cv2.blur(image, (25, 1))), "motion blur over 25 pixels"
    ),
    "defocus": Variation(
        partial(by_frame, lambda image, _: cv2.GaussianBlur(image, (0, 0), 6)), "out of focus by 6 pixels"
    ),
    "pixelated": Variation(partial(by_frame, lambda image, _: _pixelated(image, 6)), "blocks of 6 pixels"),
    "compressed": Variation(lambda span, _: span, "compressed with a rate factor of 44", "44"),
    "gray": Variation(
        partial(by_frame, lambda image, _: _gray(image)), "black and white"
    ),
    "red": _lit((1, 0.04, 0.04), "red light"),
    "green": _lit((0.04, 1, 0.04), "green light"),
    "blue": _lit((0.04, 0.04, 1), "blue light"),
    "purple": _lit((0.9, 0.05, 1.1), "purple light"),
    "stage": Variation(partial(by_frame, _stage), "colored light that changes"),
    "fast": Variation(partial(every, 2, 0.5), "twice the speed", needs_movement=True),
    "15-fps": Variation(partial(every, 2, 1), "15 frames a second", needs_movement=True),
    "5-fps": Variation(partial(every, 6, 1), "5 frames a second", needs_movement=True),
    "fast-5-fps": Variation(partial(every, 6, 0.5), "every sixth frame, at twice the speed", needs_movement=True),
    "60-fps": Variation(doubled, "each frame twice", needs_movement=True),
    "interlaced": Variation(interlaced, "interlaced", needs_movement=True),
    "fade": Variation(faded, "fades in and out", needs_movement=True),
    "dissolve": Variation(partial(dissolved, 1.0), "dissolves into another clip in 1 s"),
    "long-dissolve": Variation(partial(dissolved, 2.2), "dissolves into another clip in 2.2 s"),
    "split": Variation(split, "beside another clip"),
    "inset": Variation(picture_in_picture, "small, in another clip"),
    "mask": _cover(_draw_mask, "medical masks"),
    "sunglasses": _cover(_draw_sunglasses, "sunglasses"),
    "cap": _cover(_draw_cap, "caps"),
    "cap-glasses": _cover(_draw_cap_and_glasses, "caps and sunglasses"),
    "helmet": _cover(_draw_helmet, "caps and medical masks"),
    "hands": _cover(_draw_hand, "a hand over the lower third, half of the time"),
    "half": _cover(_draw_half, "the right half covered"),
    "subtitles": _cover(_draw_subtitle, "large subtitles over faces"),
    "fence": _cover(_draw_bars, "a fence before faces"),
}  # fmt: skip
