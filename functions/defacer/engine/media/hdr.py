"""Convert high dynamic range for the detector, and pass its metadata to the encoder.

The networks were trained on standard dynamic range (SDR). With the transfer of PQ (SMPTE ST 2084) or HLG (ITU-R
BT.2100) faces look washed out. One curve for all samples is enough for the detector to find them.
"""

import struct
from functools import cache
from itertools import starmap

import av
import numpy as np
import numpy.typing as npt

from defacer.engine.media.display.side_data import side_data_of

PQ, HLG = 16, 18  # transfer characteristics (ITU-T H.273)
WHITE = 203.0  # candela per square metre, the reference white of HDR (ITU-R BT.2408)
SDR_GAMMA = 1 / 2.2
COLORS = (("G", 1), ("B", 2), ("R", 0))  # in x265's order, each with its index in FFmpeg's order


def sdr_curve(frame: av.VideoFrame) -> npt.NDArray[np.uint8] | None:
    """Return a curve (256,) from the frame's RGB samples to SDR; None for a frame that is SDR already."""
    transfer = int(frame.color_trc)
    return _curve(transfer) if transfer in (PQ, HLG) else None


@cache
def _curve(transfer: int) -> npt.NDArray[np.uint8]:
    signal = np.arange(256) / 255
    if transfer == PQ:
        # ST 2084: from signal to light, where 1 is 10,000 candela per square metre.
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = signal ** (1 / m2)
        light = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * 10_000 / WHITE
    else:
        # BT.2100: the inverse of HLG's OETF; reference white is at 75 % of the signal.
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        light = scene / scene[191]
    # Reinhard's curve. Light up to four times reference white keeps some of its shape.
    shown = light * (1 + light / 16) / (1 + light) * 2 / (1 + 1 / 16)
    return np.clip(np.rint(np.clip(shown, 0, 1) ** SDR_GAMMA * 255), 0, 255).astype(np.uint8)


def x265_parameters(frame: av.VideoFrame) -> list[str]:
    """Return x265's parameters for the mastering display and the light level (SMPTE ST 2086, CTA-861.3)."""
    found = side_data_of(frame)
    parameters = []
    display = found.get("MASTERING_DISPLAY_METADATA")
    if display:
        numbers = struct.unpack("<22i", display[:88])
        primaries, white, light = (
            tuple(starmap(_ratio, zip(part[::2], part[1::2], strict=True)))
            for part in (numbers[:12], numbers[12:16], numbers[16:20])
        )
        has_primaries, has_luminance = numbers[20:22]
        if has_primaries and has_luminance:
            points = [(name, primaries[2 * place : 2 * place + 2]) for name, place in COLORS]
            text = "".join(f"{name}({x * 50000:.0f},{y * 50000:.0f})" for name, (x, y) in points)
            text += f"WP({white[0] * 50000:.0f},{white[1] * 50000:.0f})"
            parameters.append(f"master-display={text}L({light[1] * 10000:.0f},{light[0] * 10000:.0f})")
    level = found.get("CONTENT_LIGHT_LEVEL")
    if level:
        highest, mean = struct.unpack("<2I", level[:8])
        parameters.append(f"max-cll={highest},{mean}")
    return ["hdr10=1", *parameters] if parameters else []


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else 0.0
