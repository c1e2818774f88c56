"""The Dockerfile and the lock files of the images, checked without a build."""

import ast
import json
import os
import re
import shutil
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
from defacer_emulator.processes.ports import SERVICES
from infra.image_sizes import (
    IMAGES,
    LOCKS,
    PAGE,
    SERVED_EXTRAS,
    SIZES,
    package_size,
    size_table,
    weights_sizes,
)
from tests.infra.dockerfile import DOCKERFILE, inherited_instructions, instructions, stages
from tests.servers import ROOT
from tests.terraform import INFRA, local

# Packages that every interpreter of a development environment imports.
DEVELOPMENT_TOOLS = {"setuptools", "pip"}


def listed_packages(name: str) -> Iterator[str]:
    """Yield the packages that a file in infra/locks lists."""
    for line in (LOCKS / name).read_text().splitlines():
        if line.startswith("-r "):
            yield from listed_packages(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            yield line


def with_dependencies(names: Iterable[str]) -> set[str]:
    """Return these packages and their dependencies on this machine, by canonical name."""
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


def locked_versions(lock: str) -> dict[str, set[str]]:
    """Return the versions that a lock file pins. Several versions depend on the version of Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_hadolint_reports_nothing() -> None:
    command = [str(Path(sys.executable).parent / "hadolint"), str(DOCKERFILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_docker_receives_the_files_that_the_images_copy_and_no_others() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    needed = {path for path in allowed for source in copied if f"{source}/".startswith(f"{path}/")}
    assert needed == allowed
    assert [
        source for source in copied if not any(f"{source}/".startswith(f"{path}/") for path in allowed)
    ] == []


def test_all_stages_start_from_one_base_pinned_by_digest() -> None:
    outside = {source for source, _ in stages().values() if source not in stages()}
    assert len(outside) == 1
    assert re.fullmatch(r"python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", outside.pop())


@pytest.mark.parametrize("stage", ["base", "cpu", "gpu"])
def test_image_is_unprivileged_and_has_no_build_tools(stage: str) -> None:
    steps = inherited_instructions(stage)
    runs = " ".join(rest for name, rest in steps if name == "RUN")
    assert "pip uninstall" in runs
    assert not re.search(r"apt|gcc|build-essential|uv pip|pip install", runs)
    assert [rest for name, rest in steps if name == "USER"] == ["10001"]
    assert steps.index(("USER", "10001")) > max(
        index for index, (name, _) in enumerate(steps) if name == "RUN"
    )
    assert ("COPY", f"--from=installed-{stage} /opt/venv /opt/venv") in steps
    assert [rest.split('"')[1] for name, rest in steps if name == "ENTRYPOINT"] == ["gunicorn"]
    # Processes that decode pictures do not search the working folder (`python -P`).
    assert ("WORKDIR", "/app") in steps
    assert any("PYTHONPATH=/app" in rest for name, rest in steps if name == "ENV")


def test_packages_are_installed_by_hash_and_never_built() -> None:
    commands = [part for name, rest in instructions() if name == "RUN" for part in rest.split("&&")]
    installing = [command for command in commands if re.search(r"pip install", command)]
    assert len(installing) == 5
    assert all("--require-hashes" in command for command in installing)
    assert all("--only-binary :all:" in command for command in installing if "uv pip" in command)


def test_emulator_image_starts_the_emulator(tmp_path: Path) -> None:
    steps = inherited_instructions("emulator")
    copied = [rest.split() for name, rest in steps if name == "COPY" and not rest.startswith("--")]
    for source, target in copied:
        shutil.copytree(ROOT / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
    command = json.loads([rest for name, rest in steps if name == "ENTRYPOINT"][-1])
    assert command[0] == "python"
    code = f"import defacer, defacer_emulator; assert defacer.__file__.startswith({str(tmp_path)!r})"
    for arguments in (["-c", code], [*command[1:], "--help"]):
        subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            check=True,
        )
    assert [rest for name, rest in steps if name == "USER"][-1] == "10001"


def test_compose_publishes_the_ports_of_the_pages_on_loopback() -> None:
    compose = (ROOT / "compose.yaml").read_text()
    pages = [SERVICES[name].default for name in ("console", "live", "browser-storage")]
    assert re.findall(r"- (127\.0\.0\.1:\d+:\d+)", compose) == [f"127.0.0.1:{port}:{port}" for port in pages]
    assert "target: emulator" in compose
    (exposed,) = (rest for name, rest in stages()["emulator"][1] if name == "EXPOSE")
    assert [int(port) for port in exposed.split()] == pages


@pytest.mark.parametrize("stage", ["cpu", "gpu"])
def test_images_that_detect_faces_contain_the_weights(stage: str) -> None:
    weights_stage = "gpu-weights" if stage == "gpu" else "weights"
    assert any(
        f"--from={weights_stage} " in rest for name, rest in inherited_instructions(stage) if name == "COPY"
    )
    assert any(
        "DEFACER_WEIGHTS_DIR=/opt/weights" in rest
        for name, rest in inherited_instructions(stage)
        if name == "ENV"
    )


@pytest.mark.parametrize(
    ("stage", "expected"), [("weights", {"fetch_all", "casia_graph"}), ("gpu-weights", {"facenet"})]
)
def test_weights_stage_calls_existing_functions(stage: str, expected: set[str]) -> None:
    (run,) = (rest for name, rest in stages()[stage][1] if name == "RUN")
    code = run.split('"')[1].strip()
    calls = {
        node.attr
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "weights"
    }
    assert calls == expected
    assert all(callable(getattr(weights, name)) for name in calls)


def test_every_stage_of_a_service_is_built() -> None:
    """The worker's stage is its hardware, `cpu` or `gpu`."""
    stages_of = {name: size["stage"] for name, size in local("every_size").items()}
    assert stages_of.pop("worker") == "${var.worker}"
    wanted = {*stages_of.values(), "cpu", "gpu"}
    assert wanted <= {image.stage for image in IMAGES} <= set(stages())


@pytest.mark.parametrize("stage", ["base", "cpu"])
def test_image_has_tested_versions_and_all_dependencies(stage: str) -> None:
    locked, tested = locked_versions(f"infra/locks/{stage}.lock"), locked_versions("requirements-dev.lock")
    assert {
        name: versions for name, versions in locked.items() if not versions <= tested.get(name, set())
    } == {}
    assert set(locked) == with_dependencies(listed_packages(f"{stage}.in"))


def test_image_for_ingest_and_pages_has_no_pytorch() -> None:
    absent = re.compile("torch|facenet|nvidia|cuda|triton|tensorboard")
    assert [name for name in locked_versions("infra/locks/cpu.lock") if absent.search(name)] == []


@pytest.mark.parametrize(("cuda", "exceptions"), [("12", ("12.", "torch", "torchvision")), ("13", ("13.",))])
def test_model_images_have_tested_versions_except_older_pytorch(
    cuda: str, exceptions: tuple[str, ...]
) -> None:
    models, tested = locked_versions(f"infra/locks/cuda{cuda}.lock"), locked_versions("requirements-dev.lock")
    (runtime,) = (versions for name, versions in models.items() if name.startswith("nvidia-cuda-runtime"))
    assert all(version.startswith(exceptions[0]) for version in runtime)
    others = {name for name, versions in models.items() if not versions <= tested.get(name, set())}
    assert {name for name in others if not re.match("nvidia-|cuda-|triton", name)} == set(exceptions[1:])
    assert {re.sub("[-_.]+", "-", name).lower() for name in listed_packages("models.in")} <= set(models)


def test_default_cuda_matches_the_host_driver() -> None:
    (default,) = (rest for name, rest in instructions() if name == "ARG")
    assert default == "CUDA=12"
    build = (INFRA / "cloudbuild.yaml").read_text()
    assert '_CUDA: "12"' in build
    assert "--build-arg CUDA=$_CUDA" in build


def test_model_images_list_every_package_of_the_product() -> None:
    needed = {requirement.name for requirement in product_requirements()}
    assert needed - set(listed_packages("models.in")) == {"pip"}  # of the command line


def product_requirements() -> list[Requirement]:
    """Return the dependencies of the functions and pages in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"]]
    for extra in SERVED_EXTRAS:
        texts += project["optional-dependencies"][extra]
    return [requirement for requirement in map(Requirement, texts) if requirement.name != project["name"]]


@pytest.mark.parametrize("lock", sorted(path.stem for path in LOCKS.glob("*.lock")))
def test_lock_file_has_the_listed_packages_in_accepted_versions(lock: str) -> None:
    locked = locked_versions(f"infra/locks/{lock}.lock")
    listed = {canonicalize_name(Requirement(name).name) for name in listed_packages(f"{lock}.in")}
    assert listed <= set(locked)
    accepted = {
        canonicalize_name(requirement.name): requirement.specifier for requirement in product_requirements()
    }
    if lock == "cuda12":  # its .in file pins an older PyTorch
        assert locked_versions("infra/locks/cuda12.in") == {
            name: locked[name] for name in ("torch", "torchvision")
        }
        listed -= {"torch", "torchvision"}
    for name in listed:
        (version,) = locked[name]
        assert version in accepted[name], f"{name} {version}"


def test_every_line_of_a_lock_file_has_a_hash() -> None:
    for path in LOCKS.glob("*.lock"):
        entries = re.split(r"\n(?=\S)", path.read_text().strip())
        assert len(entries) > 40
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize(
    ("functions", "file"),
    [
        (["merge.main", "dead_letter.main", "webhook.main"], "base.in"),
        (
            [
                "ingest.main",
                "worker.main",
                "web.console.console_app",
                "web.live.live_app",
                "commands.stored_command",
                "commands.job",
                "commands.person",
            ],
            "cpu.in",
        ),
    ],
)
def test_image_has_every_package_that_its_functions_import(functions: list[str], file: str) -> None:
    imports = ", ".join(f"defacer.{name}" for name in functions)
    code = (
        f"import sys; from importlib.metadata import packages_distributions; import defacer.serve, {imports}; "
        "owners = packages_distributions(); "
        "print(*{name for module in list(sys.modules) for name in owners.get(module.partition('.')[0], ())})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {re.sub(r"[-_.]+", "-", name).lower() for name in done.stdout.split()}
    assert {"av", "flask", "gunicorn"} <= imported
    assert imported - DEVELOPMENT_TOOLS <= with_dependencies(listed_packages(file))


def test_documented_image_sizes_match_the_lock_files() -> None:
    sizes = json.loads(SIZES.read_text())
    for lock in {image.lock for image in IMAGES}:
        locked = {
            f"{name}=={version}"
            for name, versions in locked_versions(f"infra/locks/{lock}.lock").items()
            for version in versions
        }
        assert set(sizes[lock]) == locked, "run make image-sizes"
    assert size_table(sizes) in PAGE.read_text(), "run make image-sizes"


@pytest.mark.slow
def test_installed_package_has_about_its_documented_size() -> None:
    """The tolerance covers missing bytecode and wheels for another Python."""
    sizes = json.loads(SIZES.read_text())
    assert weights_sizes() == pytest.approx(sizes["weights"], rel=0.02)
    compared = 0
    for pin, documented in {**sizes["base"], **sizes[IMAGES[-1].lock]}.items():
        name, _, version = pin.partition("==")
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        if package.version != version:
            continue
        compared += 1
        assert 0.25 * documented - 100_000 < package_size(package) < 1.25 * documented + 100_000, pin
    assert compared > 40


def test_documented_sizes_are_of_the_default_images() -> None:
    assert [image.stage for image in IMAGES] == ["base", "cpu", "gpu"]
    assert [image.lock for image in IMAGES] == ["base", "cpu", "cuda12"]
    sizes = json.loads(SIZES.read_text())
    together = [sum(sizes[image.lock].values()) for image in IMAGES]
    assert 100e6 < together[0] < together[1] < together[2] / 4
