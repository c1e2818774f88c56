"""Detect text tracks that hold telemetry: drones, action cameras and dashcams write positions into subtitles.

A position in the result can show where its author lives, so a doubtful text is dropped. A film that shows one position
keeps its other subtitles. A track in the notation of a device is dropped as a whole.
"""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from typing import Any

from defacer.engine.media.clock.clocked_source import Source
from defacer.engine.media.clock.packet_clock import read_raw_packets
from defacer.engine.media.reader import open_video
from defacer.engine.media.side_streams import seconds_of
from defacer.engine.media.subtitles import subtitles_of

TELEMETRY_TRACK = "telemetry in a text track"
POSITION_TEXT = "subtitles that show a position"
CHAPTER_TITLE = "titles of chapters that show a position"
FIRST_SECONDS = 60  # the part of a video that is searched for the first texts
MIN_POSITIONS = 3  # positions that make a track telemetry if they are half of its texts

_NAMES = re.compile(
    r"(?<![a-z])(?:dji(?!b)|gopro|garmin|autel(?![a-z])|skydio|insta360|blackvue|gps|nmea|telemetry|geotag)",
    re.IGNORECASE,
)
_NUMBER = r"[-+]?\d+(?:[.,]\d+)?"
_DECIMAL = r"[-+]?\d{1,3}[.,]\d+"
_FINE = r"\d{1,3}[.,]\d{4,}"  # decimals: three digits can be thousands ("E 100.000 persone")
_LATITUDE = r"(?:lat(?:itude)?|纬度|緯度|breitengrad)"
_LONGITUDE = r"(?:lon(?:gt?itude)?|lng|经度|經度|l(?:ä|ae)ngengrad)"
_WIDE_OR_LONG = r"(?:breite|l(?:ä|ae)nge|long)"  # a latitude or longitude only with a fine number
_IS = r"[\"']?\s*[:=]\s*[\"']?\s*"
_SIDE = r"(?:[NSEWO]\s*[:=]?\s*)?"
_DEGREE = r"[°º˚\ufffd]"  # the last: a degree sign that is not UTF-8
_TAGS = re.compile(r"<[^<>]*>|\{[^{}]*\}|\\[Nnh]")

# Notations that only devices write.
_DEVICE = re.compile(
    "|".join(
        (
            rf"\b(?:GPS|HOME)\s*\(\s*(?:{_SIDE}{_DECIMAL}|n/a)\s*,\s*(?:{_SIDE}{_NUMBER}|n/a)",  # DJI, Autel
            rf"\b(?:GPS|HOME)\s*\(\s*{_SIDE}{_NUMBER}\s*,\s*{_SIDE}{_DECIMAL}",
            rf"\[\s*(?:{_LATITUDE}|{_LONGITUDE}|rel_alt|abs_alt|iso|shutter|fnum|focal_len)\s*:",  # DJI since 2018
            r"\bFrameCnt\s*:\s*\d|\b(?-i:BAROMETER):-?\d|\b[FG]\.PRY\s*\(|\bH\.S\s+[-\d.]+\s*m/s",
            r"\bF/[\d.]+\s*,\s*SS\s+[\d.]+\s*,\s*ISO\b",
            r"\$?\b(?:G[PNLABQ]|BD|QZ)(?:RMC|GGA|GLL|GSA|GSV|GNS|VTG|ZDA)\s*,",  # NMEA 0183
        )
    ),
    re.IGNORECASE,
)
_POSITION = re.compile(
    "|".join(
        (
            rf"(?i:\b|_|^)(?i:{_LATITUDE}|{_LONGITUDE}){_IS}{_DECIMAL}",  # lat=47.3
            rf"(?i:\b|_|^)(?i:{_WIDE_OR_LONG}){_IS}[-+]?{_FINE}",
            rf"(?i:{_LATITUDE}){_IS}-?\d{{5,}}\W+(?i:{_LONGITUDE}){_IS}-?\d{{5,}}",  # degrees times ten million
            rf"(?i:latitude)\W+{_NUMBER}\D{{1,20}}?(?i:longitude)\W+{_NUMBER}",
            rf"\b[NS]\s*[:=]?\s*{_DECIMAL}\W+[EWO]\s*[:=]?\s*{_DECIMAL}",  # N47.3 E8.5
            rf"\b[EWO]\s*[:=]?\s*{_DECIMAL}\W+[NS]\s*[:=]?\s*{_DECIMAL}",
            rf"{_DECIMAL}\s*{_DEGREE}?\s*[NS]\b\W+{_DECIMAL}\s*{_DEGREE}?\s*[EWO]\b",  # 47.3N 8.5E
            rf"\b[NSEWO]\s*[:=]?\s*[-+]?{_FINE}|\b{_FINE}\s*{_DEGREE}?\s*[NSEW]\b",
            r"\b[NSEWO]\s*[:=]\s*[-+]?\d{1,3}[.,]\d{3}",
            rf"\d{{1,3}}\s*{_DEGREE}\s*\d{{1,2}}(?:[.,]\d+)?\s*['\u2032\u2019]",  # 47°22'
            rf"\d{{1,3}}(?:[.,]\d+)?\s*{_DEGREE}\s*[NSEW]\b(?!')",
            r"\b[NS]\s*\d{1,2}\s+\d{1,2}[.,]\d+\W+[EWO]\s*\d{1,3}\s+\d",  # N47 22.613 E8 32.5
            r"\b\d{1,3}\s+\d{1,2}\s+\d{1,2}(?:[.,]\d+)?\s*[NSEW]\b",  # 47 22 36 N
            r"[-+]?\d{1,3}\.\d{4,}\s*[,;/ ]\s*[-+]?\d{1,3}\.\d{4,}",  # 47.37690, 8.54170
            r"[-+]\d{2}\.\d+[-+]\d{3}\.\d+",  # ISO 6709
            rf"(?i:geo:|[?@&]q?=?|\bGPS\W{{1,3}}){_DECIMAL}\s*[,;/ ]\s*{_DECIMAL}",  # links, "GPS: 47.3, 8.5"
        )
    )
)  # fmt: skip


class TelemetryFilter:
    """Decide which texts of one subtitle track are dropped. `is_telemetry`: all following texts are dropped."""

    def __init__(self, stream: Any):
        self.is_telemetry = has_telemetry_name(stream)
        self._shown = self._positions = 0

    @property
    def has_enough_texts(self) -> bool:
        """Return whether enough texts were read to detect telemetry that starts with the video."""
        return self.is_telemetry or self._shown + self._positions >= MIN_POSITIONS

    @property
    def dropped(self) -> tuple[str, ...]:
        """Return the kind of the dropped texts; empty if none was dropped."""
        if self.is_telemetry:
            return (TELEMETRY_TRACK,)
        return (POSITION_TEXT,) if self._positions else ()

    def accept(self, data: bytes) -> bool:
        """Check the next text of the track, the bytes of its packet. Return whether the result shows it."""
        texts = _possible_texts(data)
        if not any(map(str.strip, texts)):
            return self._shown > 0
        has_position = any(map(has_position_in, texts))
        self._shown += not has_position
        self._positions += has_position
        is_frequent = self._positions >= max(MIN_POSITIONS, self._shown)
        self.is_telemetry |= is_frequent or any(map(is_device_text, texts))
        return not (self.is_telemetry or has_position)


def find_telemetry_tracks(source: Source) -> frozenset[int]:
    """Return the indices of text tracks that are telemetry by their name or first texts.

    The result has no track for them, because players list even a track without texts. Raises VideoError.
    """
    with open_video(source) as (container, _):
        filters = {stream.index: TelemetryFilter(stream) for stream in subtitles_of(container)}
        begin, is_late = None, False
        for packet in read_raw_packets(container) if filters else ():
            if packet.stream_index in filters and packet.size:
                filters[packet.stream_index].accept(bytes(packet))
            if packet.dts is not None:
                begin = seconds_of(packet) if begin is None else begin
                is_late = seconds_of(packet) - begin > FIRST_SECONDS
            if is_late or all(texts.has_enough_texts for texts in filters.values()):
                break
        return frozenset(index for index, texts in filters.items() if texts.is_telemetry)


def has_telemetry_name(stream: Any) -> bool:
    """Return whether a track's own name ("DJI.Subtitle") says that a device wrote telemetry into it."""
    names = (
        value for key, value in stream.metadata.items() if key.lower() in ("handler_name", "title", "name")
    )
    return any(_NAMES.search(name) for name in names)


def is_device_text(text: str) -> bool:
    """Return whether the text is in a notation that only devices write."""
    return _DEVICE.search(text) is not None


def has_position_in(text: str) -> bool:
    """Return whether the text holds a latitude or a longitude, in any usual notation."""
    return is_device_text(text) or _POSITION.search(text) is not None


def _possible_texts(data: bytes) -> tuple[str, ...]:
    """Return the possible readings of a text. Tags can split a number, and 3GPP timed text can be UTF-16."""
    utf_16 = data[2:].decode("utf-16", "ignore") if data[2:4] in (BOM_UTF16_LE, BOM_UTF16_BE) else ""
    text = utf_16 or data.decode("utf-8", "replace").replace("\0", "")
    readings = (text, _TAGS.sub(" ", text), _TAGS.sub("", text))
    return tuple(" ".join(reading.split()) for reading in readings)
