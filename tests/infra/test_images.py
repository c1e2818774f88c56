"""The images as far as they can be seen without building one: their Dockerfile, and what they install."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from defacer.engine.models import weights
from infra.image_sizes import IMAGES, LOCKS, README, SIZES, size, table, weights_size
from tests.servers import ROOT
from tests.terraform import INFRA, local

DOCKERFILE = INFRA / "Dockerfile"
# What a .pth file or an installer brings into every interpreter of a development environment.
TOOLS_OF_HERE = {"setuptools", "pip"}


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """What each stage starts from, and its instructions, by name."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    current: list[tuple[str, str]] = []
    for name, rest in instructions():
        if name == "FROM":
            source, _, stage = rest.partition(" AS ")
            current = []
            found[stage] = (source, current)
        else:
            current.append((name, rest))
    return found


def whole(stage: str) -> list[tuple[str, str]]:
    """A stage's instructions after those of the stages it starts from."""
    source, own = stages()[stage]
    return (whole(source) if source in stages() else []) + own


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


def pins(lock: str) -> dict[str, set[str]]:
    """The versions that a lock file pins: several, where they depend on Python's."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_hadolint_finds_nothing() -> None:
    command = [str(Path(sys.executable).parent / "hadolint"), str(DOCKERFILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_everything_starts_from_one_base_pinned_by_digest() -> None:
    outside = {source for source, _ in stages().values() if source not in stages()}
    assert len(outside) == 1
    assert re.fullmatch(r"python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", outside.pop())


@pytest.mark.parametrize("stage", ["base", "cpu", "gpu"])
def test_an_image_runs_without_rights_and_holds_nothing_to_install_or_build_with(stage: str) -> None:
    steps = whole(stage)
    runs = " ".join(rest for name, rest in steps if name == "RUN")
    assert "pip uninstall" in runs
    assert not re.search(r"apt|gcc|build-essential|uv pip|pip install", runs)
    assert [rest for name, rest in steps if name == "USER"] == ["10001"]
    assert steps.index(("USER", "10001")) > max(
        index for index, (name, _) in enumerate(steps) if name == "RUN"
    )
    packages = "base" if stage == "base" else "models"
    assert ("COPY", f"--from=installed-{packages} /opt/venv /opt/venv") in steps
    assert [rest.split('"')[1] for name, rest in steps if name == "ENTRYPOINT"] == ["gunicorn"]


def test_every_package_is_installed_by_hash_and_none_is_built() -> None:
    commands = [part for name, rest in instructions() if name == "RUN" for part in rest.split("&&")]
    installing = [command for command in commands if re.search(r"pip install", command)]
    assert len(installing) == 3
    assert all("--require-hashes" in command for command in installing)
    assert all("--only-binary :all:" in command for command in installing if "uv pip" in command)


@pytest.mark.parametrize("stage", ["cpu", "gpu"])
def test_the_weights_are_in_the_images_that_look_at_faces(stage: str) -> None:
    assert any("--from=weights" in rest for name, rest in whole(stage) if name == "COPY")
    assert any("DEFACER_WEIGHTS_DIR=/opt/weights" in rest for name, rest in whole(stage) if name == "ENV")


def test_the_command_that_bakes_the_weights_in_calls_what_there_is() -> None:
    (run,) = (rest for name, rest in stages()["weights"][1] if name == "RUN")
    code = run.split('"')[1].strip()
    called = {
        node.attr
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "weights"
    }
    assert called == {"fetch_all", "facenet"}
    assert all(callable(getattr(weights, name)) for name in called)


def test_every_stage_that_a_service_runs_is_built() -> None:
    wanted = {size["stage"] for size in local("every_size").values()} | {"cpu", "gpu"}
    assert wanted <= {image.stage for image in IMAGES} <= set(stages())


def test_the_base_image_installs_tested_versions_and_all_that_it_needs() -> None:
    base, tested = pins("infra/locks/base.lock"), pins("requirements-dev.lock")
    assert {
        name: versions for name, versions in base.items() if not versions <= tested.get(name, set())
    } == {}
    assert set(base) == installed(asked_for("base.in"))


@pytest.mark.parametrize(("cuda", "brought"), [("12", ("12.", "torch", "torchvision")), ("13", ("13.",))])
def test_the_images_with_models_install_tested_versions_but_for_a_pytorch_of_an_older_cuda(
    cuda: str, brought: tuple[str, ...]
) -> None:
    models, tested = pins(f"infra/locks/cuda{cuda}.lock"), pins("requirements-dev.lock")
    (runtime,) = (versions for name, versions in models.items() if name.startswith("nvidia-cuda-runtime"))
    assert all(version.startswith(brought[0]) for version in runtime)
    others = {name for name, versions in models.items() if not versions <= tested.get(name, set())}
    assert {name for name in others if not re.match("nvidia-|cuda-|triton", name)} == set(brought[1:])
    assert {re.sub("[-_.]+", "-", name).lower() for name in asked_for("models.in")} <= set(models)


def test_a_deployment_takes_the_pytorch_that_the_hosts_driver_can_run() -> None:
    (default,) = (rest for name, rest in instructions() if name == "ARG")
    assert default == "CUDA=12"
    built = (INFRA / "cloudbuild.yaml").read_text()
    assert '_CUDA: "12"' in built
    assert "--build-arg CUDA=$_CUDA" in built


def test_the_other_images_install_every_package_that_the_product_asks_for() -> None:
    needed = {requirement.name for requirement in product()}
    assert needed - set(asked_for("models.in")) == {"rich"}  # the emulator's own


def product() -> list[Requirement]:
    """What pyproject.toml says that the product needs, with the extra `torch`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *project["optional-dependencies"]["torch"]]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("lock", sorted(path.stem for path in LOCKS.glob("*.lock")))
def test_a_lock_file_has_what_its_stage_asks_for_in_versions_that_the_product_takes(lock: str) -> None:
    locked = pins(f"infra/locks/{lock}.lock")
    asked = {canonicalize_name(Requirement(name).name) for name in asked_for(f"{lock}.in")}
    assert asked <= set(locked)
    takes = {canonicalize_name(requirement.name): requirement.specifier for requirement in product()}
    if lock == "cuda12":  # an older PyTorch, which its .in file names
        assert pins("infra/locks/cuda12.in") == {name: locked[name] for name in ("torch", "torchvision")}
        asked -= {"torch", "torchvision"}
    for name in asked:
        (version,) = locked[name]
        assert version in takes[name], f"{name} {version}"


def test_every_line_of_a_lock_file_has_a_hash() -> None:
    for path in LOCKS.glob("*.lock"):
        entries = re.split(r"\n(?=\S)", path.read_text().strip())
        assert len(entries) > 40
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize(
    ("functions", "file"),
    [
        (["merge.main", "dead_letter.main", "webhook.main"], "base.in"),
        (["ingest.main", "worker.main", "web.console.app", "web.live.app"], "models.in"),
    ],
)
def test_an_image_has_every_package_that_its_functions_import(functions: list[str], file: str) -> None:
    imports = ", ".join(f"defacer.{name}" for name in functions)
    code = (
        f"import sys; from importlib.metadata import packages_distributions; import defacer.serve, {imports}; "
        "owners = packages_distributions(); "
        "print(*{name for module in list(sys.modules) for name in owners.get(module.partition('.')[0], ())})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {re.sub(r"[-_.]+", "-", name).lower() for name in done.stdout.split()}
    assert {"av", "flask", "gunicorn"} <= imported
    assert imported - TOOLS_OF_HERE <= installed(asked_for(file))


def test_the_sizes_are_those_of_what_the_lock_files_pin() -> None:
    sizes = json.loads(SIZES.read_text())
    for lock in {image.lock for image in IMAGES}:
        locked = {
            f"{name}=={version}"
            for name, versions in pins(f"infra/locks/{lock}.lock").items()
            for version in versions
        }
        assert set(sizes[lock]) == locked, "run make image-sizes"
    assert table(sizes) in README.read_text(), "run make image-sizes"


def test_a_package_is_as_large_here_as_is_told_of_it() -> None:
    """But for bytecode, which is not there everywhere, and another Python's wheels."""
    sizes = json.loads(SIZES.read_text())
    assert weights_size() == pytest.approx(sizes["weights"]["all"], rel=0.02)
    compared = 0
    for told, there in {**sizes["base"], **sizes[IMAGES[-1].lock]}.items():
        name, _, version = told.partition("==")
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        if package.version != version:
            continue
        compared += 1
        assert 0.25 * there - 100_000 < size(package) < 1.25 * there + 100_000, told
    assert compared > 40


def test_the_default_is_what_the_sizes_are_told_of_and_grows_with_what_an_image_does() -> None:
    assert [image.stage for image in IMAGES] == ["base", "cpu", "gpu"]
    assert {image.lock for image in IMAGES[1:]} == {"cuda12"}
    sizes = json.loads(SIZES.read_text())
    assert 100e6 < sum(sizes["base"].values()) < sum(sizes["cuda12"].values())
