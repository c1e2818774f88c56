"""Test that the result drops positions in subtitles and keeps ordinary subtitles."""

from pathlib import Path

import av
import pytest

from defacer.engine.media.telemetry import (
    POSITION_TEXT,
    TELEMETRY_TRACK,
    TelemetryFilter,
    has_position_in,
    has_telemetry_name,
)
from tests.engine.test_passthrough import join_video, texts
from tests.inputs.write_video import Text, Video

OLD_DJI = "F/2.8, SS 320.0, ISO 100, EV 0, DZOOM 1.000, GPS (8.500000, 47.300000, 18), D 24.30m, H 6.00m"
NEW_DJI = (
    '<font size="28">FrameCnt: 1, DiffTime: 33ms\\N2026-11-30 12:00:00.123\\N[iso: 100] [shutter: 1/320.0] '
    "[fnum: 2.8] [latitude: 47.300000] [longitude: 8.500000] [rel_alt: 1.300 abs_alt: 408.1]</font>"
)
TELEMETRY = (
    OLD_DJI,
    NEW_DJI,
    "GPS (8.5, 47.3, 18)",
    "GPS(n/a, n/a, n/a)",
    "HOME(8.5251,47.2532) 2015.08.22 11:31:03",
    "HOME(E: 8.570, N: 47.48) 2020-02-12 12:16:26",
    "GPS(E: 8.5701, N: 47.4806, 93.6m)",
    "[latitude : 47.3] [longtitude : 8.5] [altitude: 400]",
    "$GPRMC,123519,A,4722.038,N,00831.000,E,022.4,084.4,230394,003.1,W*6A",
    "$GNGGA,123519,4722.038,N,00831.000,E,1,08,0.9,545.4,M,46.9,M,,*47",
    "lat=47.3",
    "Lat: 47.3769, Lon: 8.5417",
    '{"lat": 47.3, "lng": 8.5}',
    "latitude: 473769000 longitude: 85417000",
    "N47.3 E8.5",
    "<b>N47.3</b> <i>E8.5</i>",
    "N:47.376888 E:8.541694 60KM/H",
    "2026/11/30 12:00:00 60 km/h S 33.8688 W 8.5417",
    "47.376888N 8.541694E",
    "47°22'36.8\"N 8°32'30.1\"E",
    "N47 22.613 E8 32.500",
    "47 22 36 N, 8 32 30 E",
    "+47.3769+008.5417/",
    "https://maps.google.com/?q=47.3,8.5",
    "GPS: 47.3, 8.5",
    "47.37690, 8.54170",
    "E: 8.541",
    "Breite: 47,3769",
    "HOME(n/a, n/a) BAROMETER:1.9",
)
SPEECH = (
    "Turn on the GPS.",
    "Your GPS says 5 minutes, 3 turns.",
    "GPS: 3 of 4 satellites",
    "He is 32.5 years old, 1.80 tall.",
    "It's 30° outside, 12.5 degrees colder than in 2.5 weeks.",
    "S1 E2, then N 5.",
    "Version 10.15.7, 12.3.1",
    "Pi is 3.14159.",
    "Latitude matters, and so does longitude 8.",
    "Go north 5.5 miles, then east 3.2 miles.",
    "- Lat: 5 o'clock!",
    "F/2.8 at ISO 100, said the DJI pilot.",
    "It costs $1,299.99, or 1,199.50 EUR.",
    "We are home (1, 2, 3).",
    "[shutter clicks]",
    "Breite: 5 Meter, Länge: 8 Meter",
    "Breite: 1,50 m, Länge: 2,5 m",
    "How long: 2.5 hours",
    "E 100.000 persone sono scese in piazza.",
    "- O 1.500 metros?",
    "Nur 12.500 W Leistung",
    "Barometer: 29.92, rising",
    "2026-11-30 12.30.45",
)


class Stream:
    def __init__(self, **metadata: str):
        self.metadata = metadata


@pytest.mark.parametrize("text", TELEMETRY)
def test_position_in_any_notation_is_dropped(text: str) -> None:
    assert not TelemetryFilter(Stream()).accept(text.encode())


@pytest.mark.parametrize("text", SPEECH)
def test_ordinary_subtitle_with_numbers_is_kept(text: str) -> None:
    assert TelemetryFilter(Stream()).accept(text.encode())


@pytest.mark.parametrize("name", ["DJI.Subtitle", "GoPro SOS", "GARMIN GPS", "Telemetry", "my_dji_0001"])
def test_track_with_device_name_is_telemetry(name: str) -> None:
    assert has_telemetry_name(Stream(handler_name=name))


@pytest.mark.parametrize(
    "name", ["SubtitleHandler", "English (SDH)", "Apple Text Media Handler", "Français (Djibouti)", "Chautel"]
)
def test_track_with_ordinary_name_is_not_telemetry(name: str) -> None:
    assert not has_telemetry_name(Stream(handler_name=name))


def test_utf16_timed_text_is_read() -> None:
    text = "47°22'36\"N".encode("utf-16")
    assert not TelemetryFilter(Stream()).accept(len(text).to_bytes(2, "big") + text)


def test_degree_sign_in_latin_1_is_read() -> None:
    assert not TelemetryFilter(Stream()).accept("47°22'36\"".encode("latin-1"))


def test_hostile_text_is_read_quickly() -> None:
    for text in ("<" * 200_000, " " * 200_000, "N1.1 " * 40_000, "1." + "1" * 200_000):
        has_position_in(text)
        TelemetryFilter(Stream()).accept(text.encode())


@pytest.mark.parametrize("telemetry", [OLD_DJI, NEW_DJI])
@pytest.mark.parametrize(
    ("name", "codec"), [("in.mp4", "mov_text"), ("in.mkv", "subrip"), ("in.mkv", "ass"), ("in.mkv", "webvtt")]
)
def test_telemetry_track_is_dropped_and_listed(name: str, codec: str, telemetry: str, tmp_path: Path) -> None:
    lines = tuple((0.2 + n * 0.5, 0.7 + n * 0.5, telemetry) for n in range(4))
    spoken = ((0.2, 1.0, "Turn on the GPS."), (1.4, 2.2, "5.5 miles to go"))
    out, joined = join_video(tmp_path, Video(sound=(), texts=(Text(codec, lines), Text(codec, spoken))), name)
    assert joined.dropped[-1] == TELEMETRY_TRACK
    assert texts(out) == [*spoken]
    assert b"47.3" not in out.read_bytes()
    with av.open(str(out)) as container:
        assert len(container.streams.subtitles) == 1


def test_track_with_a_device_name_is_dropped(tmp_path: Path) -> None:
    text = Text("mov_text", ((0.2, 1.0, "Take-off"),), name="DJI.Subtitle")
    out, joined = join_video(tmp_path, Video(sound=(), texts=(text,)), "in.mp4")
    assert joined.dropped == (TELEMETRY_TRACK,)
    with av.open(str(out)) as container:
        assert not container.streams.subtitles


def test_film_loses_only_the_text_with_a_position(tmp_path: Path) -> None:
    lines = ((0.2, 0.7, "47.3769° N, 8.5417° E"), (0.7, 1.2, "Run!"), (1.2, 1.7, "Where to?"))
    out, joined = join_video(tmp_path, Video(sound=(), texts=(Text("subrip", lines),)))
    assert joined.dropped == (POSITION_TEXT,)
    assert texts(out) == [*lines[1:]]


def test_track_of_mostly_positions_is_dropped(tmp_path: Path) -> None:
    lines = tuple((n / 10, n / 10 + 0.1, "60 km/h" if n % 2 else "N47.3 E8.5") for n in range(20))
    out, joined = join_video(tmp_path, Video(sound=(), texts=(Text("subrip", lines),)))
    assert joined.dropped == (TELEMETRY_TRACK,)
    assert len(texts(out)) <= 3


def test_chapter_title_with_a_position_is_dropped(tmp_path: Path) -> None:
    chapters = ((0, 1.2, "47.37690, 8.54170"), (1.2, 2.6, "End"))
    out, joined = join_video(tmp_path, Video(chapters=chapters, sound=()), "in.mp4")
    with av.open(str(out)) as container:
        assert [chapter["metadata"].get("title", "") for chapter in container.chapters()] == [
            "Chapter 1",
            "End",
        ]
    assert b"47.3" not in out.read_bytes()
    assert joined.dropped == ("titles of chapters that show a position",)
