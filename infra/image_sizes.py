"""Measure the packages (with bytecode) and weights that each image installs (`make image-sizes`).

The module installs each lock file into an empty folder, as the Dockerfile does. This takes some minutes and 9 GB of
disk. The results go to infra/image_sizes.json and to the table in infra/IMAGES.md. The images are those of a default
deployment, without the base image (Debian, Python).
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from importlib.util import cache_from_source
from pathlib import Path

from packaging.utils import canonicalize_name

from defacer.engine.models import weights

INFRA = Path(__file__).parent
LOCKS = INFRA / "locks"
SIZES = INFRA / "image_sizes.json"
PAGE = INFRA / "IMAGES.md"
HEAD = "| image | packages | MB | the largest | weights, MB | together, GB |\n|---|---|---|---|---|---|\n"
MEGABYTE = 1e6
SERVED_EXTRAS = ("cloud", "console", "gpu")  # the extras of `defacer` that the functions and pages need
WEIGHTS = "weights"


def default_cuda() -> str:
    (found,) = re.findall(r"^ARG CUDA=(\d+)$", (INFRA / "Dockerfile").read_text(), re.MULTILINE)
    return str(found)


@dataclass(frozen=True)
class ImageSize:
    """A stage of infra/Dockerfile, and its lock file in infra/locks."""

    stage: str
    lock: str


IMAGES = (
    ImageSize("base", "base"),
    ImageSize("cpu", "cpu"),
    ImageSize("gpu", f"cuda{default_cuda()}"),
)


def measure_packages(lock: str) -> dict[str, int]:
    """Install a lock file into an empty folder, and return the bytes on disk of each package by `name==version`."""
    uv = str(Path(sys.executable).parent / "uv")
    with tempfile.TemporaryDirectory(prefix="defacer-image-") as folder:
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        subprocess.run(
            [
                uv, "pip", "install", "--quiet", "--python", folder, "--compile-bytecode", "--only-binary", ":all:",
                "--require-hashes", "--requirement", LOCKS / f"{lock}.lock",
            ],
            check=True,
        )  # fmt: skip
        (site,) = Path(folder).glob("lib/python*/site-packages")
        found = {
            f"{canonicalize_name(package.name)}=={package.version}": package_size(package)
            for package in distributions(path=[str(site)])
        }
    return dict(sorted(found.items()))


def package_size(package: Distribution) -> int:
    """Return the bytes of an installed package: its files, and their bytecode if they are compiled."""
    files = {Path(str(file.locate())) for file in package.files or ()}
    files |= {Path(cache_from_source(str(file))) for file in files if file.suffix == ".py"}
    return sum(file.stat().st_size for file in files if file.is_file())


def weights_sizes() -> dict[str, int]:
    """Return the bytes of the weights in the images, by stage."""
    sizes = {}
    with tempfile.TemporaryDirectory(prefix="defacer-weights-") as name:
        folder = Path(name)
        weights.fetch_all(folder)
        weights.casia_graph(folder)
        sizes["cpu"] = _folder_size(folder)
        weights.facenet("facenet-casia", folder)
        sizes["gpu"] = _folder_size(folder)
    return sizes


def _folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def size_table(sizes: Mapping[str, Mapping[str, int]]) -> str:
    """Return the sizes as a Markdown table."""
    rows = []
    for image in IMAGES:
        packages = sizes[image.lock]
        together = sum(packages.values())
        largest = sorted(packages, key=lambda name: -packages[name])[:4]
        named = ", ".join(f"{name.replace('==', ' ')} {packages[name] / MEGABYTE:.0f}" for name in largest)
        models = sizes[WEIGHTS].get(image.stage, 0)
        rows.append(
            f"| `{image.stage}` | `{image.lock}.lock`: {len(packages)} | {together / MEGABYTE:.0f} | {named} "
            f"| {models / MEGABYTE:.0f} | {(together + models) / MEGABYTE / 1000:.1f} |\n"
        )
    return HEAD + "".join(rows)


def main() -> None:
    sizes = {lock: measure_packages(lock) for lock in sorted({image.lock for image in IMAGES})}
    sizes[WEIGHTS] = weights_sizes()
    SIZES.write_text(json.dumps(sizes, indent=1) + "\n")
    text = size_table(sizes)
    old = re.compile(re.escape(HEAD) + r"(?:\|.*\n)+")
    PAGE.write_text(old.sub(lambda _: text, PAGE.read_text()))
    print(text, end="")


if __name__ == "__main__":
    main()
