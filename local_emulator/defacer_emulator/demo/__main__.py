"""Write the sample of the console into a folder: `sample.mp4`, and a picture of the person who stays visible."""

import sys
from pathlib import Path

from defacer_emulator.demo.demo_clip import make_demo_clip, write_target_picture

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_target_picture(folder / "Eileen.png")
    make_demo_clip(folder / "sample.mp4")
