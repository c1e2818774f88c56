"""Redact a clip of two drawn people with the installed command `defacer`: `python -m tests.drawn_demo`.

The workflow runs it on each operating system. It needs the base installation only.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.drawn_clip import make_drawn_clip, write_drawn_target_picture


def main() -> int:
    """Keep one of the two people, and check the decisions in the report."""
    with tempfile.TemporaryDirectory(prefix="de-facer ") as name:
        folder = Path(name) / "Übung 视频"
        folder.mkdir()
        clip, picture, report = folder / "clip.mp4", folder / "target.png", folder / "clip.report.jsonl"
        make_drawn_clip(clip)
        write_drawn_target_picture(picture)
        command = ["defacer", "run", str(clip), "--keep", str(picture), "--report", str(report)]
        subprocess.run(command, check=True)
        listed = subprocess.run(
            ["defacer", "tracks", str(report), "--json"], check=True, capture_output=True, encoding="utf-8"
        )
        decisions = {track["decision"] for track in json.loads(listed.stdout)}
        result = folder / "clip.defaced.mp4"
        print(f"{result.stat().st_size} bytes, decisions: {sorted(decisions)}")
    return 0 if decisions == {"keep", "hide"} else 1


if __name__ == "__main__":
    sys.exit(main())
