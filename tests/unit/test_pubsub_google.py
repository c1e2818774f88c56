"""The search for Google's Pub/Sub emulator, in temporary folders."""

from pathlib import Path

import pytest

from defacer_emulator.pubsub import google

LIB = "platform/pubsub-emulator/lib"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on the PATH. Debian's SDK folder does not exist."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(google, "_DEBIAN_ROOT", tmp_path / "debian")
    return folder


def create_program(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o755)
    return file


def create_sdk(root: Path, *versions: str) -> list[Path]:
    return [create_program(root / LIB / f"cloud-pubsub-emulator-{version}-all.jar") for version in versions]


def test_newest_emulator_beside_gcloud_is_found(path: Path, tmp_path: Path) -> None:
    java = create_program(path / "java")
    (path / "gcloud").symlink_to(create_program(tmp_path / "sdk" / "bin" / "gcloud"))
    _, newest, _ = create_sdk(tmp_path / "sdk", "0.8.9", "0.8.20", "0.7.100")
    assert google.find_google_emulator() == [str(java), *google.JAVA_OPTIONS, "-jar", str(newest)]


def test_emulator_in_the_debian_folder_is_found_without_gcloud(path: Path, tmp_path: Path) -> None:
    java = create_program(path / "java")
    (jar,) = create_sdk(tmp_path / "debian", "0.8.20")
    assert google.find_google_emulator() == [str(java), *google.JAVA_OPTIONS, "-jar", str(jar)]


def test_no_emulator_is_found_without_java_or_the_component(path: Path, tmp_path: Path) -> None:
    (jar,) = create_sdk(tmp_path / "debian", "0.8.20")
    assert google.find_google_emulator() is None
    create_program(path / "java")
    jar.unlink()
    assert google.find_google_emulator() is None


def test_explicit_jar_is_used(path: Path, tmp_path: Path) -> None:
    java = create_program(path / "java")
    create_sdk(tmp_path / "debian", "0.8.20")
    jar = create_program(tmp_path / "my.jar")
    assert google.find_google_emulator(jar) == [str(java), *google.JAVA_OPTIONS, "-jar", str(jar)]


def test_missing_explicit_jar_raises(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"my\.jar.*gcloud components install"):
        google.find_google_emulator(tmp_path / "my.jar")
