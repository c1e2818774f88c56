"""Check whether PyTorch is installed, and raise an error with the next step where a setting needs it."""

from importlib.util import find_spec

from defacer.engine.errors import MissingPackageError
from defacer.engine.runtime.installation import install_command

# The packages of the extra `gpu` in pyproject.toml, by their import names.
MODULES = ("torch", "torchvision", "facenet_pytorch", "tensorboard")


def is_installed() -> bool:
    """Return whether all packages of the extra `gpu` are installed, without importing them."""
    return not missing_modules()


def missing_modules() -> list[str]:
    """Return the modules of the extra `gpu` that are not installed."""
    return [name for name in MODULES if find_spec(name) is None]


def how_to_install() -> str:
    """Return how to install PyTorch, as a sentence without its period."""
    return f"Run `{install_command('gpu')}`, or `make torch` in a clone of the repository (5 GB)"


def require(setting: str, instead: str) -> None:
    """Raise MissingPackageError unless PyTorch is installed.

    `setting` needs PyTorch, such as "detector mtcnn". `instead` is a setting that does not.
    """
    if absent := missing_modules():
        names = " and ".join([", ".join(absent[:-1]), absent[-1]] if absent[1:] else absent)
        raise MissingPackageError(
            f"{setting} needs PyTorch, but {names} {'are' if absent[1:] else 'is'} not installed. "
            f"{how_to_install()}, or choose {instead}."
        )
