"""The rows of recordings whose times are corrected, and of those that begin or end badly."""

from tests.inputs.clock_files import (
    annex_b_in_mp4,
    avi_with_b_frames,
    avi_with_dropped_frames,
    avi_with_empty_frames,
    avi_with_long_header,
    cut_cluster,
    cut_fragment,
    flv_with_jump,
    flv_with_restart,
    flv_with_same_times,
    fragments_at_time_of_day,
    hidden_vp8,
    joined,
    junk_between_packets,
    mkv_at_time_of_day,
    mkv_with_same_times,
    mp4_without_offsets,
    packed_avi,
    raw_av1,
    raw_h264,
    raw_hevc,
    raw_mpeg4,
    ts_with_jump,
    without_first_key_frame,
    wrapping_clock,
)
from tests.inputs.field_files import fields_with_one_time, raw_fields
from tests.inputs.rows import Row
from tests.inputs.write_video import Sound

USUAL = tuple(number / 25 for number in range(60))
FIELDS = tuple(number / 25 for number in range(50))
TWICE = tuple(number / 25 for number in range(120))
SAME = tuple(
    time - (number in (10, 30)) * 0.039 - (number == 31) * 0.078 for number, time in enumerate(USUAL)
)
SOFTWARE = ("tag software",)
MPEG2 = {"codec": "mpeg2video", "options": (("b", "2M"), ("g", "12"), ("bf", "2")), "sound": (Sound("mp2"),)}
SAME_FLV = tuple(
    time - (number in (9, 29)) * 0.039 - (number == 30) * 0.04 for number, time in enumerate(USUAL)
)
X265_OPTIONS = (("preset", "ultrafast"), ("x265-params", "log-level=error:keyint=20:bframes=3:info=0"))
NO_TIMES = ("frames without a presentation time",)
CUT = ("the incomplete last frame",)

CLOCKS = [
    Row("H.264 with B-frames, AVI", "clocks", avi_with_b_frames, times=USUAL, corrected=NO_TIMES, dropped=SOFTWARE,
        emulated=True),
    Row("two frames in a packet, one B-frame in a row, MPEG-4 in AVI", "clocks", packed_avi(1), times=USUAL,
        corrected=NO_TIMES, dropped=SOFTWARE),
    Row("two frames in a packet, two B-frames in a row, MPEG-4 in AVI", "clocks", packed_avi(2), times=USUAL,
        corrected=NO_TIMES, dropped=SOFTWARE),
    Row("MPEG-4 with B-frames and the times of decoding, MP4", "clocks", mp4_without_offsets, times=USUAL,
        corrected=NO_TIMES),
    Row("a raw stream of H.264", "clocks", raw_h264, times=tuple(number / 30 for number in range(72)),
        corrected=("72 frames without a time, now at 30 frames a second",), emulated=True),
    Row("a raw stream of HEVC", "clocks", raw_hevc, times=USUAL,
        corrected=("60 frames without a time, now at 25 frames a second",)),
    Row("a raw stream of MPEG-4", "clocks", raw_mpeg4, times=USUAL),
    Row("a raw stream of AV1", "clocks", raw_av1, times=USUAL, slow=True),
    Row("fields in packets of their own, transport stream", "clocks", fields_with_one_time, times=FIELDS),
    Row("fields in packets of their own, raw stream", "clocks", raw_fields, times=FIELDS,
        corrected=("50 frames without a time, now at 25 frames a second",)),
    Row("empty chunks of dropped frames, AVI", "clocks", avi_with_dropped_frames,
        times=tuple(n / 25 for n in (0, *range(2, 61)) if n == 0 or (n - 1) % 6 != 3), dropped=SOFTWARE),
    Row("empty frames in place of dropped ones, MPEG-4 in AVI", "clocks", avi_with_empty_frames,
        times=tuple((n + (n > 0)) / 25 for n in range(60) if n not in (10, 11, 30)), dropped=SOFTWARE),
    Row("frames with the same time, MKV", "clocks", mkv_with_same_times, times=SAME,
        corrected=("3 frames with the time of another frame",)),
    Row("frames with the same time, FLV", "clocks", flv_with_same_times, times=SAME_FLV,
        corrected=("2 frames with the time of another frame",), emulated=True),
    Row("a clock that restarts, FLV", "clocks", flv_with_restart, times=USUAL,
        corrected=("a clock that restarts 1 time, at 1.21 s",), emulated=True),
    Row("a clock that jumps three hours ahead, a damaged packet of sound, FLV", "clocks", flv_with_jump, times=USUAL,
        corrected=("a clock that restarts 1 time, at 0.81 s",),
        dropped=("sound track 2 (pcm_s16le), which has 1 packet, so its name is damaged",)),
    Row("a clock that jumps 20 s ahead, transport stream", "clocks", ts_with_jump, times=USUAL,
        corrected=("a clock that restarts 1 time, at 0.75 s",)),
    Row("two recordings in one file, MPEG-2 program stream", "clocks", joined("in.mpg", 2, **MPEG2), times=TWICE,
        corrected=("a clock that restarts 1 time, at 2.40 s",)),
    Row("two recordings in one file, transport stream", "clocks", joined("in.ts", 2),
        "another recording follows after 2.40 s"),
    Row("two recordings in one file, with the policy to hide damage", "clocks", joined("in.ts", 2), times=TWICE,
        corrected=("a clock that restarts 1 time, at 2.40 s",), on_decode_error="hide", black=(57, 59), emulated=True),
    Row("a clock of 33 bits that wraps", "clocks", wrapping_clock, times=USUAL,
        corrected=("a clock that wraps after 1.22 s",), emulated=True),
    Row("fragments with the time of day, MP4", "clocks", fragments_at_time_of_day, times=USUAL,
        corrected=("a clock that begins at 1699999999.98 s",), emulated=True),
    Row("the time of day, MKV", "clocks", mkv_at_time_of_day, times=USUAL,
        corrected=("a clock that begins at 1699999.98 s",)),
    Row("hidden frames in their own packets, VP8", "clocks", hidden_vp8, times=USUAL, emulated=True),
]  # fmt: skip

RECORDINGS = [
    Row("no key frame at the start, transport stream", "begin and end", without_first_key_frame, times=USUAL[:40],
        dropped=("15 frames before the first key frame",), emulated=True),
    Row("no key frame at the start, HEVC in a transport stream", "begin and end",
        lambda folder: without_first_key_frame(folder, codec="libx265", options=X265_OPTIONS), times=USUAL[:40],
        dropped=("15 frames before the first key frame",)),
    Row("cut off within a fragment, MP4", "begin and end", cut_fragment, "cut off: it ends"),
    Row("cut off within a fragment, MP4, with the policy to hide damage", "begin and end", cut_fragment,
        times=USUAL[:50], dropped=CUT, on_decode_error="hide", emulated=True),
    Row("cut off within a cluster, MKV", "begin and end", cut_cluster, "cut off: it ends"),
    Row("cut off within a cluster, MKV, with the policy to hide damage", "begin and end", cut_cluster,
        times=USUAL[:30], on_decode_error="hide", segment_seconds=0.5),
    Row("a header that counts 1,000 frames, AVI", "begin and end", avi_with_long_header, "cut off: it ends"),
    Row("a header that counts 1,000 frames, AVI, with the policy to hide damage", "begin and end",
        avi_with_long_header, times=(0.0, *(number / 25 for number in range(2, 61))), dropped=SOFTWARE,
        on_decode_error="hide"),
    Row("junk between packets, transport stream", "begin and end", junk_between_packets, times=USUAL),
    Row("start codes instead of lengths, MP4", "begin and end", annex_b_in_mp4, times=USUAL),
]  # fmt: skip
