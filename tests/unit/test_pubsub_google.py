"""Finding Google's emulator, in folders made for the purpose."""

from pathlib import Path

import pytest

from defacer_emulator.pubsub import google

LIB = "platform/pubsub-emulator/lib"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH; no SDK in Debian's place."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(google, "_DEBIAN_ROOT", tmp_path / "debian")
    return folder


def program(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o755)
    return file


def sdk(root: Path, *versions: str) -> list[Path]:
    return [program(root / LIB / f"cloud-pubsub-emulator-{version}-all.jar") for version in versions]


def test_it_is_found_beside_gcloud_and_the_newest_is_taken(path: Path, tmp_path: Path) -> None:
    java = program(path / "java")
    (path / "gcloud").symlink_to(program(tmp_path / "sdk" / "bin" / "gcloud"))
    _, newest, _ = sdk(tmp_path / "sdk", "0.8.9", "0.8.20", "0.7.100")
    assert google.find_google_emulator() == [str(java), "-jar", str(newest)]


def test_it_is_found_in_debians_place_without_gcloud(path: Path, tmp_path: Path) -> None:
    java = program(path / "java")
    (jar,) = sdk(tmp_path / "debian", "0.8.20")
    assert google.find_google_emulator() == [str(java), "-jar", str(jar)]


def test_it_is_not_found_without_java_or_without_the_component(path: Path, tmp_path: Path) -> None:
    (jar,) = sdk(tmp_path / "debian", "0.8.20")
    assert google.find_google_emulator() is None
    program(path / "java")
    jar.unlink()
    assert google.find_google_emulator() is None


def test_a_jar_that_is_given_is_taken(path: Path, tmp_path: Path) -> None:
    java = program(path / "java")
    sdk(tmp_path / "debian", "0.8.20")
    jar = program(tmp_path / "my.jar")
    assert google.find_google_emulator(jar) == [str(java), "-jar", str(jar)]


def test_a_jar_that_is_given_but_missing_is_an_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"my\.jar.*gcloud components install"):
        google.find_google_emulator(tmp_path / "my.jar")
