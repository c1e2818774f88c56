"""The table of inputs: how each file is with_bytes, and its expected result."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from defacer.engine.options import OnDecodeError, Options, SoundMode
from tests.clips import admiral
from tests.inputs.broken_files import (
    cut_off,
    cut_off_avi,
    damage_hevc,
    damage_packet,
    large_box,
    long_edit,
    long_mkv,
    sound_only,
    unknown_codec,
    wide_header,
    with_bytes,
    with_stated_length,
    with_timecode,
    with_user_data,
    without_middle,
)
from tests.inputs.write_video import GOP, INTERLACED_FLAGS, X265, Sound, Text, Video, write

Maker = Callable[[Path], Path]
HDR = (
    "hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400:"
    "log-level=error"
)
BT601, BT709, BT2020 = (1, 6, 6, 6), (1, 1, 1, 1), (1, 9, 14, 9)
HDR10, HLG = (1, 9, 16, 9), (1, 9, 18, 9)


@dataclass(frozen=True)
class Row:
    """One input. `expected` is "same" or a part of the error message.

    `codec` and `pixel_format` are those of the result. `emulated`: the emulator processes it too. `slow`: it takes over
    ten seconds. `face`: its portrait must be hidden. `on_decode_error` and `sound` are the policy's. `times` are the
    seconds from the first frame to each frame of the result, for a source whose own times are not correct. `corrected`
    and `converted` have the texts of the changes.
    """

    name: str
    group: str
    make: Maker
    expected: str = "same"
    codec: str = "h264"
    pixel_format: str | None = None
    emulated: bool = False
    slow: bool = False
    face: bool = False
    dropped: tuple[str, ...] = ()
    segment_seconds: float = 1.0
    on_decode_error: OnDecodeError = "refuse"
    black: tuple[int, ...] | None = None
    times: tuple[float, ...] | None = None
    corrected: tuple[str, ...] = ()
    sound: SoundMode = "convert"
    converted: tuple[str, ...] = ()

    @property
    def options(self) -> Options:
        return Options(on_decode_error=self.on_decode_error, sound=self.sound)


def video(name: str, **changes: object) -> Maker:
    """Return a function that writes a video of that name."""
    return lambda folder: write(folder / name, Video(**changes))  # type: ignore[arg-type]


def _times(rate: float, count: int = 60) -> tuple[float, ...]:
    return tuple(number / rate for number in range(count))


# The times of a phone: about 30 frames a second, a pause, then fewer frames a second.
PHONE = tuple(
    round(seconds, 4)
    for seconds in [
        *(n * 0.0334 + 0.004 * (n % 3) for n in range(30)),
        *(1.9 + n * 0.0667 + 0.007 * (n % 2) for n in range(14)),
    ]
)


def _timing(name: str, rate: Fraction, **more: object) -> Row:
    return Row(f"{name} frames a second", "timing", video("in.mp4", rate=rate, seconds=2.2), **more)  # type: ignore[arg-type]


TIMING = [
    _timing("23.976", Fraction(24000, 1001)),
    _timing("25", Fraction(25), emulated=True),
    _timing("29.97", Fraction(30000, 1001)),
    _timing("50", Fraction(50)),
    _timing("59.94", Fraction(60000, 1001)),
    _timing("120", Fraction(120)),
    Row("variable rate, as a phone writes it", "timing",
        video("in.mp4", times=PHONE, time_base=Fraction(1, 90000), sound=(Sound(),)), emulated=True),
    Row("a picture that does not change for 4 s", "timing",
        video("in.mp4", times=(*_times(25, 30), *(5.2 + t for t in _times(25, 30))), time_base=Fraction(1, 1000))),
    Row("start time other than 0", "timing",
        video("in.ts", start=7.48, sound=(Sound(shift=7.48),), options=(*GOP, ("bf", "0"))), emulated=True),
    Row("an edit list that starts the picture 0.6 s later", "timing", video("in.mp4", start=0.6)),
    Row("an edit list that hides the first 25 frames", "timing",
        video("in.mp4", hidden_frames=25, seconds=3.6), emulated=True),
    Row("an edit list that starts the sound 0.5 s later", "timing", video("in.mp4", sound=(Sound(shift=0.5),)),
        emulated=True),
    Row("an edit list that hides the first 0.8 s of sound", "timing", video("in.mp4", sound=(Sound(shift=-0.8),))),
    Row("an edit list that cuts out the middle, sound too", "timing", without_middle),
    Row("an edit list that cuts out the middle, PCM", "timing",
        lambda folder: without_middle(folder, "in.mov", "pcm_s16le")),
    Row("B-frames in a pyramid, negative first decode times", "timing",
        video("in.mp4", options=(("preset", "ultrafast"), ("bf", "6"), ("g", "30"),
                                 ("x264-params", "b-pyramid=2:b-adapt=0")),
              muxer=(("movflags", "negative_cts_offsets"),))),
    Row("open groups of pictures", "timing",
        video("in.mp4", options=(("preset", "ultrafast"), ("bf", "3"),
                                 ("x264-params", "open-gop=1:keyint=20:b-adapt=0")))),
    Row("every frame a key frame", "timing", video("in.mp4", options=(("preset", "ultrafast"), ("g", "1")))),
    Row("a single key frame in 5 minutes", "timing",
        video("in.mp4", size=(128, 96), rate=5, seconds=300, options=(("preset", "ultrafast"), ("g", "100000"),
              ("x264-params", "scenecut=0"))), segment_seconds=60, slow=True),
    Row("a single frame", "timing", video("in.mp4", seconds=0.04, sound=()), emulated=True),
    Row("2 hours", "timing", video("in.mp4", size=(128, 96), rate=Fraction(1, 2), seconds=7200, sound=()),
        segment_seconds=120, slow=True),
]  # fmt: skip

PICTURE = [
    *(Row(f"turned by {degrees} degrees", "picture", video("in.mp4", turned=(degrees, False)), emulated=degrees == 90)
      for degrees in (90, 180, 270)),
    Row("mirrored", "picture", video("in.mp4", turned=(0, True))),
    Row("turned and mirrored", "picture", video("in.mov", turned=(90, True))),
    Row("pixels that are not square (4:3)", "picture", video("in.mp4", shape=Fraction(4, 3)), emulated=True),
    Row("odd width and height", "picture", video("in.mkv", size=(321, 181), pixel_format="yuv444p"),
        pixel_format="yuv444p"),
    Row("odd width and height, 4:2:0", "picture",
        video("in.webm", codec="libvpx-vp9", size=(321, 181), sound=(Sound("libopus"),),
              options=(("cpu-used", "8"), ("deadline", "realtime"), ("b", "1M"))), pixel_format="yuv444p"),
    Row("4:2:2", "picture", video("in.mp4", pixel_format="yuv422p"), pixel_format="yuv422p"),
    Row("4:4:4", "picture", video("in.mp4", pixel_format="yuv444p"), pixel_format="yuv444p"),
    Row("RGB", "picture", video("in.mp4", codec="libx264rgb", pixel_format="rgb24"), pixel_format="yuv444p"),
    Row("a palette of 256 colors, PNG in MOV", "picture",
        video("in.mov", codec="png", pixel_format="pal8", options=()), pixel_format="yuv444p"),
    Row("gray", "picture", video("in.mp4", pixel_format="gray")),
    Row("full range", "picture", video("in.mp4", pixel_format="yuvj420p", color=(2, 1, 1, 1)),
        pixel_format="yuvj420p"),
    Row("BT.601", "picture", video("in.mp4", color=BT601)),
    Row("BT.709", "picture", video("in.mp4", color=BT709), emulated=True),
    Row("BT.2020, 8 bits", "picture", video("in.mp4", color=BT2020)),
    Row("HEVC with 10 bits", "picture", video("in.mp4", codec="libx265", pixel_format="yuv420p10le", options=X265),
        codec="hevc", pixel_format="yuv420p10le"),
    Row("HEVC with HDR10, a face in it", "picture",
        video("in.mp4", codec="libx265", pixel_format="yuv420p10le", color=HDR10, size=(480, 270),
              options=(("preset", "ultrafast"), ("x265-params", HDR)), portrait=admiral()[:400, 60:460]),
        codec="hevc", pixel_format="yuv420p10le", emulated=True, face=True),
    Row("HEVC with HLG, a face in it", "picture",
        video("in.mov", codec="libx265", pixel_format="yuv420p10le", color=HLG, options=X265, size=(480, 270),
              portrait=admiral()[:400, 60:460]),
        codec="hevc", pixel_format="yuv420p10le", face=True),
    Row("HEVC with 10 bits, 4:2:2", "picture",
        video("in.mp4", codec="libx265", pixel_format="yuv422p10le", options=X265), codec="hevc",
        pixel_format="yuv422p10le"),
    *(Row(f"interlaced, {name} field first", "picture",
          video("in.mp4", fields=fields, options=(*GOP, ("x264-params", f"{fields}=1"))), emulated=fields == "tff")
      for fields, name in (("tff", "top"), ("bff", "bottom"))),
    Row("interlaced MPEG-2", "picture",
        video("in.ts", codec="mpeg2video", fields="tff", size=(352, 288), sound=(Sound("mp2"),),
              options=(("flags", INTERLACED_FLAGS), ("b", "6M")))),
    Row("interlaced with 10 bits stays H.264", "picture",
        video("in.mov", codec="libx264", pixel_format="yuv422p10le", fields="tff",
              options=(*GOP, ("x264-params", "tff=1"))), pixel_format="yuv422p10le"),
    Row("interlaced DV", "picture",
        video("in.avi", codec="dvvideo", fields="bff", size=(720, 576), pixel_format="yuv420p", options=(),
              sound=(Sound("pcm_s16le"),)), dropped=("tag software",)),
    Row("gray, limited range", "picture",
        video("in.mp4", codec="libx265", pixel_format="gray", color=(1, 1, 1, 1), options=X265)),
    Row("128x96", "picture", video("in.mp4", size=(128, 96))),
    Row("7680x4320", "picture", video("in.mp4", size=(7680, 4320), rate=2, seconds=2.0, sound=()), slow=True),
]  # fmt: skip

CODECS = [
    Row("HEVC", "codecs and containers", video("in.mp4", codec="libx265", options=X265)),
    Row("AV1", "codecs and containers", video("in.mp4", codec="libsvtav1", options=(("preset", "10"), ("crf", "30")))),
    Row("VP9, Opus, WebM", "codecs and containers",
        video("in.webm", codec="libvpx-vp9", options=(("cpu-used", "8"), ("deadline", "realtime"), ("b", "1M")),
              sound=(Sound("libopus"),)), emulated=True),
    Row("VP8, Vorbis, WebM", "codecs and containers",
        video("in.webm", codec="libvpx", options=(("cpu-used", "8"), ("deadline", "realtime"), ("b", "1M")),
              sound=(Sound("vorbis"),))),
    Row("MPEG-4, MP3, AVI", "codecs and containers",
        video("in.avi", codec="mpeg4", options=(("b", "2M"), ("g", "20")), sound=(Sound("libmp3lame"),)),
        dropped=("tag software",), emulated=True),
    Row("MPEG-4 with B-frames, AVI", "codecs and containers",
        video("in.avi", codec="mpeg4", options=(("b", "2M"), ("g", "20"), ("bf", "2")), sound=()),
        dropped=("tag software",)),
    Row("MPEG-2, AC-3, transport stream", "codecs and containers",
        video("in.ts", codec="mpeg2video", options=(("b", "6M"), ("g", "15"), ("bf", "2")), sound=(Sound("ac3"),)),
        emulated=True),
    Row("ProRes, PCM, MOV", "codecs and containers",
        video("in.mov", codec="prores_ks", pixel_format="yuv422p10le", options=(), sound=(Sound("pcm_s16le"),)),
        codec="hevc", pixel_format="yuv422p10le", emulated=True),
    Row("MJPEG, PCM, AVI", "codecs and containers",
        video("in.avi", codec="mjpeg", pixel_format="yuvj422p", options=(("qscale", "2"),),
              sound=(Sound("pcm_s16le"),)),
        pixel_format="yuvj422p", dropped=("tag software",)),
    Row("MP4, index first", "codecs and containers", video("in.mp4", muxer=(("movflags", "faststart"),))),
    Row("MP4, index last", "codecs and containers", video("in.mp4"), emulated=True),
    Row("MP4, fragmented", "codecs and containers",
        video("in.mp4", muxer=(("movflags", "frag_keyframe+empty_moov+default_base_moof"),)), emulated=True),
    Row("MOV", "codecs and containers", video("in.mov")),
    Row("MKV", "codecs and containers", video("in.mkv"), emulated=True),
    Row("transport stream", "codecs and containers", video("in.ts")),
    Row("HEVC in open groups of pictures, transport stream", "codecs and containers",
        video("in.ts", codec="libx265", options=(("preset", "ultrafast"),
              ("x265-params", "log-level=error:keyint=20:min-keyint=20:open-gop=1:scenecut=0:bframes=3"))),
        emulated=True),
    Row("HEVC in open groups of pictures, MP4", "codecs and containers",
        video("in.mp4", codec="libx265", options=(("preset", "ultrafast"),
              ("x265-params", "log-level=error:keyint=20:min-keyint=20:open-gop=1:scenecut=0:bframes=3")))),
]  # fmt: skip

TAGS = (("title", "Ann at home"), ("location", "+37.7749-122.4194/"), ("make", "Phone Inc."),
        ("creation_time", "2026-01-02T03:04:05Z"))  # fmt: skip
OVERLAPPING = ((0.2, 1.4, "one"), (0.8, 2.0, "two"), (1.0, 1.2, "three"), (2.2, 2.5, "four"))
OTHER = [
    Row("no sound", "other tracks", video("in.mp4", sound=())),
    Row("two sound tracks, two languages", "other tracks",
        video("in.mp4", sound=(Sound(language="eng"), Sound(language="fra", hertz=660))), emulated=True),
    Row("Opus, MP4", "other tracks", video("in.mp4", sound=(Sound("libopus"),))),
    Row("AC-3, MKV", "other tracks", video("in.mkv", sound=(Sound("ac3"),))),
    Row("FLAC, MKV", "other tracks", video("in.mkv", sound=(Sound("flac"),))),
    Row("subtitles, MP4 (mov_text)", "other tracks", video("in.mp4", texts=(Text("mov_text", language="deu"),)),
        emulated=True),
    Row("subtitles, MKV (SubRip, two languages)", "other tracks",
        video("in.mkv", texts=(Text("subrip", language="eng"), Text("subrip", language="fra")))),
    Row("subtitles shown together, MKV (SubRip)", "other tracks",
        video("in.mkv", texts=(Text("subrip", lines=OVERLAPPING),)), emulated=True),
    Row("subtitles, MKV (ASS)", "other tracks", video("in.mkv", texts=(Text("ass"),))),
    Row("chapters", "other tracks", video("in.mp4", chapters=((0, 1.2, "Start"), (1.2, 2.6, "End"))), emulated=True),
    Row("cover picture", "other tracks", video("in.mp4", cover=True), dropped=("cover picture",), emulated=True),
    Row("title, place, device and date in tags", "other tracks",
        video("in.mov", tags=TAGS, muxer=(("movflags", "use_metadata_tags"),)),
        dropped=("tag creation_time", "tag location", "tag location-eng", "tag make", "tag title"), emulated=True),
    Row("a camera's user data, XMP", "other tracks", with_user_data,
        dropped=("XMP", "user data CAME", "user data GPMF", "user data XMP_"), emulated=True),
    Row("a telemetry track, as GoPro's", "other tracks", video("in.mp4", data=True), dropped=("data track",),
        emulated=True),
    Row("a time code track, MOV", "other tracks", with_timecode,
        dropped=("time code track", "tag timecode")),
]  # fmt: skip


BROKEN = [
    Row("an empty file", "broken", with_bytes("in.mp4", b""), "not a video that can be read"),
    Row("text", "broken", with_bytes("in.mp4", b"hello " * 2000), "not a video that can be read"),
    Row("sound only", "broken", sound_only, "no moving picture", emulated=True),
    Row("cut off in the middle", "broken", cut_off, "damaged|cut off", emulated=True),
    Row("a header that states ten hours, MP4", "broken", with_stated_length(36_000), "its header says", emulated=True),
    Row("a header that states less than the index, MP4", "broken", with_stated_length(0.4), "its header says"),
    Row("an edit list of ten hours", "broken", long_edit, "its header says"),
    Row("a header that states ten hours, MKV", "broken", long_mkv, "cut off", segment_seconds=7200),
    Row("a header that claims 4000x3000", "broken", wide_header, "its header states a picture of 4000x3000"),
    Row("a box that claims 10 GB", "broken", large_box, "cut off|damaged|not a video"),
    Row("a damaged packet", "broken", damage_packet(50), "damaged", emulated=True),
    Row("a damaged packet, with the policy to hide its frames", "broken", damage_packet(50), on_decode_error="hide",
        black=tuple(range(50, 60)), emulated=True),
    Row("a damaged packet, HEVC", "broken", damage_hevc, "damaged|can't be decoded"),
    Row("cut off in the middle, AVI", "broken", cut_off_avi, "cut off|damaged"),
    Row("an unknown codec", "broken", unknown_codec, "can't be decoded"),
    Row("encrypted", "broken",
        video("in.mp4", muxer=(("encryption_scheme", "cenc-aes-ctr"), ("encryption_key", "01" * 16),
                               ("encryption_kid", "02" * 16))), "encrypted"),
]  # fmt: skip

ROWS = [*TIMING, *PICTURE, *CODECS, *OTHER, *BROKEN]
