"""What the images install, in megabytes: the sizes that the installed packages' RECORD files state, and the weights.

    python -m infra.image_sizes

It counts the packages of this environment, where PyTorch is the build for CUDA 13; the one for CUDA 12 is of the same
kind. The base image (Debian, Python) is not counted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from functions.engine import weights

LOCKS = Path(__file__).parent / "locks"
# uv compiles at installing: on these packages bytecode takes 1.2 times the room of its source.
BYTECODE = 1.2
MEGABYTE = 1e6


@dataclass(frozen=True)
class Image:
    """A stage of infra/Dockerfile: what it installs is what this file in infra/locks names, and what that needs."""

    stage: str
    asked: str
    weights: bool


IMAGES = (
    Image("base", "base.in", weights=False),
    Image("cpu", "models.in", weights=True),
    Image("gpu", "models.in", weights=True),
)


def asked_for(name: str) -> Iterator[str]:
    """The packages that a file in infra/locks names."""
    for line in (LOCKS / name).read_text().splitlines():
        if line.startswith("-r "):
            yield from asked_for(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            yield line


def installed(names: Iterable[str]) -> set[str]:
    """These packages and all that they need on this machine, by canonical name."""
    found: set[str] = set()
    todo = [Requirement(name) for name in names]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        extras = wanted.extras or {""}
        if name in found and extras == {""}:
            continue
        found.add(name)
        for line in distribution(name).requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(needed)
    return found


def size(name: str) -> float:
    """Bytes that a package takes, with its bytecode."""
    return sum(
        (file.size or 0) * (1 + BYTECODE if file.suffix == ".py" else 1)
        for file in distribution(name).files or ()
    )


def weights_size() -> int:
    """Bytes of the weights that are baked in, as they lie in this machine's cache."""
    weights.fetch_all()
    weights.facenet("casia-webface")
    opted_in = Path(weights.VGGFACE2_URL).name
    files = (file for file in weights.DEFAULT_DIR.iterdir() if file.suffix != ".pb" and file.name != opted_in)
    return sum(file.stat().st_size for file in files)


def table() -> str:
    """The sizes as a table in Markdown."""
    lines = ["| image | packages, MB | the largest | weights, MB | together, GB |", "|---|---|---|---|---|"]
    for image in IMAGES:
        sizes = {name: size(name) for name in installed(asked_for(image.asked))}
        largest = sorted(sizes, key=lambda name: -sizes[name])[:4]
        named = ", ".join(f"{name} {sizes[name] / MEGABYTE:.0f}" for name in largest)
        packages = sum(sizes.values())
        models = weights_size() if image.weights else 0
        lines.append(
            f"| `{image.stage}` | {packages / MEGABYTE:.0f} | {named} | {models / MEGABYTE:.0f} "
            f"| {(packages + models) / MEGABYTE / 1000:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
