"""Check a video before any frame is searched. List its properties, and the changes of its result."""

from collections.abc import Iterator
from dataclasses import dataclass

from av.container import InputContainer
from av.video.stream import VideoStream

from defacer.engine.media import side_streams
from defacer.engine.media.clock.clock_scan import examine_video
from defacer.engine.media.clock.clocked_source import Source, file_of
from defacer.engine.media.mp4.user_data import list_user_data
from defacer.engine.media.reader import VideoInfo, open_video
from defacer.engine.media.sound.sound_plan import SoundPlans, plan_sound
from defacer.engine.media.subtitles import subtitles_of
from defacer.engine.media.telemetry import TELEMETRY_TRACK, has_telemetry_name
from defacer.engine.options import Options
from defacer.report.changes import ChangeCode, SourceChange


@dataclass(frozen=True)
class SourceProbe:
    """A video that can be processed.

    `container` is FFmpeg's name of its format. `kept` describes the tracks that the result has. `changes` are those
    that are known before the video is read: texts with a position, for example, are found later.
    """

    info: VideoInfo
    container: str
    kept: tuple[str, ...]
    changes: tuple[SourceChange, ...]


def probe(source: Source, options: Options) -> SourceProbe:
    """Read the header of a video, and all packets if its index is not complete. Raises VideoError if that fails."""
    info = examine_video(
        file_of(source),
        past_damage=options.on_decode_error == "hide",
        strict_timing=options.strict_timing,
    )
    sound = plan_sound(source, options.sound)
    with open_video(source) as (container, picture):
        name = container.format.name
        kept = (_describe_picture(info, picture), *_describe_tracks(container, sound))
        changes = [
            *info.clock.changes,
            *info.form.changes,
            *sound.changes,
            *side_streams.find_dropped(container, picture.index),
            *_find_telemetry(container),
        ]
    changes += [SourceChange(ChangeCode.DROPPED_USER_DATA, kind) for kind in list_user_data(file_of(source))]
    return SourceProbe(info, name, kept, tuple(dict.fromkeys(changes)))


def _describe_picture(info: VideoInfo, picture: VideoStream) -> str:
    rate = f", {info.frame_rate:.5g} frames a second" if info.frame_rate else ""
    return f"picture: {info.codec}, {info.width}x{info.height}, {picture.pix_fmt}{rate}"


def _describe_tracks(container: InputContainer, plans: SoundPlans) -> Iterator[str]:
    kept = {plan.index for plan in plans.tracks if not plan.change}
    for number, sound in enumerate(container.streams.audio, start=1):
        if sound.index in kept:
            language = f", {sound.language}" if sound.language else ""
            name = sound.codec_context.codec.canonical_name
            yield f"sound track {number}: {name}, {sound.rate} Hz, {sound.layout.name}{language}"
    for texts in subtitles_of(container):
        if not has_telemetry_name(texts):
            language = f", {texts.language}" if texts.language else ""
            yield f"subtitles: {side_streams.codec_of(texts)}{language}"
    if chapters := container.chapters():
        yield f"{len(chapters)} chapters"


def _find_telemetry(container: InputContainer) -> Iterator[SourceChange]:
    if any(map(has_telemetry_name, subtitles_of(container))):
        yield SourceChange(ChangeCode.DROPPED_TELEMETRY, TELEMETRY_TRACK)
