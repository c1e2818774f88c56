"""A shorter sample than that of the emulator."""

import sys
from pathlib import Path

from defacer_emulator.demo.demo_clip import make_demo_clip, write_target_picture

if __name__ == "__main__":
    write_target_picture(Path(sys.argv[1], "Eileen.png"))
    make_demo_clip(Path(sys.argv[1], "sample.mp4"), 0.2, (160, 90), 15)
