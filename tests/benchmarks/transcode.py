"""Decode and encode a video with PyAV and copy its sound: the minimum work of any such tool.

The options of the encoder are the engine's for this video, with the default quality.

python -m tests.benchmarks.transcode IN.mp4 OUT.mp4
"""

import argparse
import sys
from pathlib import Path
from typing import cast

import av
from av.video.frame import PictureType

from defacer.engine.media.encoding import encoding_of
from defacer.engine.options import Options
from defacer.engine.output_paths import check_outputs


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.transcode", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("video", type=Path, metavar="IN", help="the video to read")
    parser.add_argument("out", type=Path, metavar="OUT", help="the MP4 to write")
    arguments = parser.parse_args()
    check_outputs([arguments.out], [arguments.video], force=False)
    options = encoding_of(str(arguments.video)).options(Options().quality)
    transcode(arguments.video, arguments.out, options)
    return 0


def transcode(source: Path, result: Path, encoder: dict[str, str]) -> None:
    """Transcode in one pass with the engine's threads. Each frame keeps its time."""
    with av.open(str(source)) as read, av.open(str(result), "w", format="mp4") as out:
        old = read.streams.video[0]
        old.thread_type = "AUTO"
        new = out.add_stream("libx264", rate=old.average_rate, options=encoder)
        new.width, new.height, new.pix_fmt = old.width, old.height, "yuv420p"
        new.codec_context.thread_type = "FRAME"
        new.time_base = new.codec_context.time_base = old.time_base
        sound = {stream.index: out.add_stream_from_template(stream) for stream in read.streams.audio}
        for packet in read.demux(old, *read.streams.audio):
            if packet.stream_index == old.index:
                for frame in packet.decode():
                    frame.pict_type = PictureType.NONE
                    out.mux(new.encode(cast(av.VideoFrame, frame)))
            elif packet.size:
                packet.stream = sound[packet.stream_index]
                out.mux(packet)
        out.mux(new.encode(None))


if __name__ == "__main__":
    sys.exit(main())
