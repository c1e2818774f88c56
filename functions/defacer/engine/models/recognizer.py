"""Create the recognizer that a setting names: SFace by default, or FaceNet."""

from pathlib import Path

from defacer.engine.errors import EngineError
from defacer.engine.models import facenet, sface
from defacer.engine.models.embedding import Recognizer
from defacer.engine.models.facenet import FaceNet
from defacer.engine.models.sface import SFace

# From the name of a recognizer to the version that galleries and reports state.
VERSIONS = {"sface": sface.VERSION, **facenet.VERSIONS}
RECOGNIZERS = tuple(VERSIONS)


def make_recognizer(name: str, weights_dir: Path | None = None) -> Recognizer:
    """Return the recognizer of that name. Raises EngineError for a name that is not in RECOGNIZERS."""
    if name not in VERSIONS:
        raise EngineError(
            f"the recognizer is {name!r}, allowed are {', '.join(RECOGNIZERS)}. Change the setting."
        )
    return SFace(weights_dir) if name == "sface" else FaceNet(name, weights_dir)
