"""What `defacer doctor` reports: packages, models, and the abilities of this machine."""

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from defacer.commands.common.extras import missing_packages
from defacer.commands.version import version
from defacer.engine.runtime.installation import install_command

EXTRAS = {
    "": "redact files",
    "cloud": "commands for jobs on Google Cloud",
    "console": "the console and the live page",
    "emulator": "the whole pipeline on this machine",
    "gpu": "run the models on an NVIDIA GPU; detector mtcnn, recognizer facenet-vggface2",
}
CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_tile", "amx_int8", "neon", "asimd")


@dataclass(frozen=True)
class ExtraFacts:
    """An extra of the package `defacer`. An empty name is the base installation."""

    name: str
    purpose: str
    missing: tuple[str, ...]
    install: str


@dataclass(frozen=True)
class ModelFacts:
    """The file of a model: `state` is present, missing or damaged."""

    name: str
    state: str
    sha256: str
    path: str


@dataclass(frozen=True)
class MachineFacts:
    """`problems` keep `defacer run` from working. `hints` say what else can be done."""

    defacer: str
    python: str
    system: str
    cpu: str
    cpu_count: int
    cpu_features: tuple[str, ...]
    gpu: str
    video: str
    models_folder: str
    models: tuple[ModelFacts, ...]
    extras: tuple[ExtraFacts, ...]
    problems: tuple[str, ...]
    hints: tuple[str, ...]


def collect_facts() -> MachineFacts:
    """Return the facts about this machine and installation."""
    extras = tuple(_extra_facts(name) for name in EXTRAS)
    broken = dict(_broken_imports())
    models = () if broken else tuple(_model_facts())
    return MachineFacts(
        defacer=version(),
        python=f"{platform.python_version()} ({sys.executable})",
        system=platform.platform(),
        cpu="unknown" if "openvino" in broken else _cpu_name(),
        cpu_count=os.cpu_count() or 1,
        cpu_features=tuple(_cpu_features()),
        gpu="unknown" if broken else _gpu(),
        video="unknown" if "av" in broken else _video(),
        models_folder="" if broken else _models_folder(),
        models=models,
        extras=extras,
        problems=tuple(_problems(extras[0], broken, models)),
        hints=tuple(_hints(models)),
    )


def _extra_facts(name: str) -> ExtraFacts:
    return ExtraFacts(name, EXTRAS[name], tuple(missing_packages(name)), install_command(name))


def _broken_imports() -> Iterator[tuple[str, str]]:
    """Yield the native modules of the base that can't be imported, each with the reason."""
    # The back end imports openvino without its telemetry.
    modules = {"openvino": "defacer.engine.models.openvino_backend"}
    for name in ("av", "cv2", "numpy", "onnx", "openvino"):
        try:
            import_module(modules.get(name, name))
        except (ImportError, OSError) as error:
            yield name, str(error)


def _model_facts() -> Iterator[ModelFacts]:
    from defacer.engine.models import weights

    for file in weights.default_files():
        yield ModelFacts(Path(file.source.member).name, file.state(), file.source.sha256, str(file.path))


def _models_folder() -> str:
    from defacer.engine.models import weights

    return str(weights.default_dir())


def _cpu_name() -> str:
    from defacer.engine.models import openvino_backend

    return openvino_backend.processor_name()


def _cpu_features() -> Iterator[str]:
    """Yield the features that make the models fast. Only Linux lists them in a file."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            words = set(file.read().split())
    except OSError:
        return
    yield from (name for name in CPU_FEATURES if name in words)


def _gpu() -> str:
    from defacer.engine.runtime import gpu

    return gpu.describe()


def _video() -> str:
    import av

    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    encoder = "libx264" if "libx264" in av.codecs_available else "no libx264"
    return f"PyAV {av.__version__}, libavcodec {codec}, encoder {encoder}"


def _problems(base: ExtraFacts, broken: dict[str, str], models: tuple[ModelFacts, ...]) -> Iterator[str]:
    if base.missing:
        yield f"Missing packages: {', '.join(base.missing)}. Run: {base.install}"
    for name, reason in broken.items():
        yield f"The package {name} can't be imported: {reason}. Install it again."
    for model in models:
        if model.state == "damaged":
            yield f"The model {model.path} is damaged. Delete it. The next run downloads it again."


def _hints(models: tuple[ModelFacts, ...]) -> Iterator[str]:
    missing = [model.name for model in models if model.state == "missing"]
    if missing:
        yield (
            f"Missing models: {', '.join(missing)}. The first run downloads them (18 MB), and so does "
            "`defacer doctor --fetch`."
        )
