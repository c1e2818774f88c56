"""The clips of DEFACER_EVAL, and score.py that lies beside them."""

import importlib.util
from pathlib import Path
from types import ModuleType


def clips_of(folder: Path, names: str | None) -> list[Path]:
    """The clips with these names ("c02,c05"), or all, in order."""
    chosen = names.split(",") if names else None
    return [path for path in sorted((folder / "clips").glob("*.mp4")) if not chosen or path.stem in chosen]


def load_score(folder: Path) -> ModuleType:
    """score.py of the folder with the clips."""
    path = folder / "score.py"
    specification = importlib.util.spec_from_file_location("score", path)
    if specification is None or specification.loader is None:
        raise SystemExit(f"error: {path} can't be loaded.")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
