"""Open the sound tracks of a result by their plans."""

from av.container import InputContainer, OutputContainer

from defacer.engine.media.sound.converted_sound import ConvertedSound
from defacer.engine.media.sound.copied_sound import CopiedSound
from defacer.engine.media.sound.latm import RepackagedSound
from defacer.engine.media.sound.sound_plan import SoundPlans

SoundTrack = CopiedSound | RepackagedSound | ConvertedSound


def open_sound_tracks(
    source: InputContainer, result: OutputContainer, plans: SoundPlans
) -> dict[int, SoundTrack]:
    """Add the planned tracks to the result. Return them by the indices of their streams in the source."""
    streams = {stream.index: stream for stream in source.streams.audio}
    tracks: dict[int, SoundTrack] = {}
    for plan in plans.tracks:
        stream = streams[plan.index]
        if plan.encoding is not None:
            tracks[plan.index] = ConvertedSound(result, stream, plan.encoding)
        elif plan.method == "repackage":
            tracks[plan.index] = RepackagedSound(result, stream)
        else:
            tracks[plan.index] = CopiedSound(result, stream)
    return tracks
