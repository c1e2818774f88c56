"""The clips of a folder in the format of README.md, and the score.py that grades them."""

import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

# As score.py reads it: {"frames": N, "target_image": FILE or null, "faces": [[frame, track, role, *box], ...]}
Truth = dict[str, Any]


@dataclass(frozen=True)
class Clip:
    """A video with the box and the role of every face in every frame."""

    name: str
    video: Path
    truth: Truth = field(repr=False)

    @property
    def target_picture(self) -> Path | None:
        image = self.truth["target_image"]
        return self.video.parent / image if image else None


def load_clips(folder: Path, names: str | None = None) -> list[Clip]:
    """Return the clips with these names ("c02,c05"), or all, sorted by name."""
    chosen = names.split(",") if names else None
    return [
        Clip(path.stem, path, json.loads(path.with_suffix(".json").read_text()))
        for path in sorted((folder / "clips").glob("*.mp4"))
        if not chosen or path.stem in chosen
    ]


def load_score(folder: Path) -> ModuleType:
    """Return the module score.py of the folder with the clips."""
    path = folder / "score.py"
    specification = importlib.util.spec_from_file_location("score", path)
    if specification is None or specification.loader is None:
        raise SystemExit(f"error: {path} can't be loaded.")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
