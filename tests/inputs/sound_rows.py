"""The rows of the table for sound that is converted, dropped or refused."""

from tests.inputs.rows import Maker, Row
from tests.inputs.sound_files import (
    AVI_PICTURE,
    two_tracks,
    with_gap,
    with_sound,
    with_unknown_track,
    with_unknown_track_only,
)


def _converted(name: str, make: Maker, into: str, **more: object) -> Row:
    return Row(name, "sound", make, converted=(f"sound track 1: {into}",), **more)  # type: ignore[arg-type]


LATM, AVI_TAG = (("mpegts_flags", "latm"),), ("tag software",)
SOUND = [
    _converted("A-law, AVI", with_sound("in.avi", "pcm_alaw", 8000, "mono", codec="mpeg4", options=AVI_PICTURE),
               "pcm_alaw to PCM with 16 bits", dropped=AVI_TAG),
    _converted("mu-law, MOV", with_sound("in.mov", "pcm_mulaw", 8000, "mono"), "pcm_mulaw to PCM with 16 bits"),
    _converted("PCM with 8 bits, AVI",
               with_sound("in.avi", "pcm_u8", 11025, "mono", codec="mpeg4", options=AVI_PICTURE),
               "pcm_u8 to PCM with 16 bits", dropped=AVI_TAG),
    _converted("PCM with 16 bits at 96 kHz, MKV", with_sound("in.mkv", "pcm_s16le", 96_000, "mono"),
               "pcm_s16le to FLAC with 16 bits"),
    _converted("PCM with 24 bits, MOV", with_sound("in.mov", "pcm_s24be"), "pcm_s24be to FLAC with 24 bits"),
    _converted("PCM with floating point, MKV", with_sound("in.mkv", "pcm_f32le"), "pcm_f32le to FLAC with 24 bits"),
    _converted("PCM with 24 bits, 5.1 channels, MKV", with_sound("in.mkv", "pcm_s24le", layout="5.1"),
               "pcm_s24le to FLAC with 24 bits"),
    _converted("Blu-ray PCM, M2TS", with_sound("in.m2ts", "pcm_bluray", codec="mpeg2video", options=()),
               "pcm_bluray to PCM with 16 bits"),
    _converted("AAC in LATM, transport stream", with_sound("in.ts", "aac", muxer=LATM),
               "aac_latm to AAC with the same packets", emulated=True),
    _converted("WMA, WMV", with_sound("in.wmv", "wmav2", 44_100, codec="wmv2", options=(("b", "2M"),)),
               "wmav2 to AAC at 256 kbit/s", emulated=True),
    _converted("IMA4, MOV", with_sound("in.mov", "adpcm_ima_qt", 22_050, "mono"), "adpcm_ima_qt to AAC at 88 kbit/s"),
    _converted("ADPCM, AVI",
               with_sound("in.avi", "adpcm_ms", 22_050, "mono", codec="mpeg4", options=AVI_PICTURE),
               "adpcm_ms to AAC at 88 kbit/s", dropped=AVI_TAG),
    _converted("AMR, 3GP",
               with_sound("in.3gp", "libopencore_amrnb", 8000, "mono", codec="h263", size=(352, 288), options=()),
               "amr_nb to AAC at 32 kbit/s"),
    _converted("Nellymoser, FLV", with_sound("in.flv", "nellymoser", 22_050, "mono", codec="flv1", options=()),
               "nellymoser to AAC at 88 kbit/s"),
    _converted("TTA, MKV", with_sound("in.mkv", "tta", 44_100), "tta to FLAC with 16 bits"),
    _converted("WavPack, MKV", with_sound("in.mkv", "wavpack"), "wavpack to FLAC with 16 bits"),
    _converted("a gap in Blu-ray PCM", with_gap(with_sound("in.m2ts", "pcm_bluray", codec="mpeg2video", options=())),
               "pcm_bluray to PCM with 16 bits"),
    _converted("a gap in WMA",
               with_gap(with_sound("in.wmv", "wmav2", 44_100, codec="wmv2", options=(("b", "2M"),))),
               "wmav2 to AAC at 256 kbit/s"),
    Row("AAC and A-law in two languages, MOV", "sound", two_tracks,
        converted=("sound track 2: pcm_alaw to PCM with 16 bits",), emulated=True),
    Row("a second track that can't be decoded, MP4", "sound", with_unknown_track,
        dropped=("sound track 2 (apac), which can't be decoded",)),
    Row("the only track can't be decoded", "sound", with_unknown_track_only, "its sound .apac. can't be decoded"),
    Row("A-law, with the policy to copy only", "sound", with_sound("in.mov", "pcm_alaw", 8000, "mono"),
        "needs a conversion .sound track 1: pcm_alaw", sound="copy_only", emulated=True),
]  # fmt: skip
