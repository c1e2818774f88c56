"""Settings are typed and checked."""

import re

import pytest

from defacer.pipeline.settings import Settings, SettingsError

REQUIRED = {
    "DEFACER_PROJECT": "my-project",
    "DEFACER_INTAKE_BUCKET": "intake",
    "DEFACER_WORK_BUCKET": "work",
    "DEFACER_OUTPUT_BUCKET": "output",
}


def test_four_variables_are_required() -> None:
    settings = Settings.from_environment(REQUIRED)
    assert (settings.project, settings.segments_topic, settings.segment_seconds) == (
        "my-project",
        "segments",
        10,
    )


def test_values_are_typed_and_unknown_variables_ignored() -> None:
    settings = Settings.from_environment(
        {**REQUIRED, "DEFACER_LEASE_SECONDS": "12.5", "DEFACER_UNKNOWN": "x", "PATH": "/bin"}
    )
    assert settings.lease_seconds == 12.5


@pytest.mark.parametrize("variable", sorted(REQUIRED))
def test_missing_variable_is_named(variable: str) -> None:
    environment = {key: value for key, value in REQUIRED.items() if key != variable}
    with pytest.raises(SettingsError, match=f"{variable}=None: Field required"):
        Settings.from_environment(environment)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEFACER_LEASE_SECONDS", "soon"),
        ("DEFACER_DEADLINE_SECONDS", "600"),
        ("DEFACER_SEGMENT_SECONDS", "0"),
        ("DEFACER_MAX_SEGMENT_ATTEMPTS", "0"),
        ("DEFACER_LOG_LEVEL", "LOUD"),
        ("DEFACER_WORK_BUCKET", ""),
        ("DEFACER_RETRY_SECONDS", "0"),
        ("DEFACER_IAP_AUDIENCE", ""),
        ("DEFACER_IAP_AUDIENCE", "console"),
        ("DEFACER_CHANNEL_OWNERS", "street=user:ada@example.com"),
        ("DEFACER_CHANNEL_OWNERS", '{"street": ["allUsers"]}'),
        ("DEFACER_CHANNEL_OWNERS", '{"street": ["group:crew@example.com"]}'),
        ("DEFACER_ADMINISTRATORS", '["ada@example.com"]'),
    ],
)
def test_invalid_value_is_named_with_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"{variable}='{value}': ")):
        Settings.from_environment({**REQUIRED, variable: value})


def test_owners_are_compared_without_case() -> None:
    owners = '{"street": ["user:Ada@Example.com", "domain:Example.com"]}'
    settings = Settings.from_environment({**REQUIRED, "DEFACER_CHANNEL_OWNERS": owners})
    assert settings.channel_owners == {"street": {"user:ada@example.com", "domain:example.com"}}


def test_all_invalid_variables_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({**REQUIRED, "DEFACER_LOG_LEVEL": "LOUD", "DEFACER_LEASE_SECONDS": "-1"})
    assert "DEFACER_LOG_LEVEL" in str(caught.value)
    assert "DEFACER_LEASE_SECONDS" in str(caught.value)


SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - a test value


@pytest.mark.parametrize(
    "url", ["https://example.com/hook?channel=a", "http://127.0.0.1:8000/", "http://[::1]/"]
)
def test_webhook_url_can_be_https_or_loopback(url: str) -> None:
    assert Settings.from_environment({**REQUIRED, "DEFACER_WEBHOOK_URL": url}).webhook_url == url


@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "ftp://example.com/", "https:///x", "https://me:word@example.com/", "https://a/#b", "",
     "http://127.0.0.1.example.com/", "http://localhost@example.com/"],
)  # fmt: skip
def test_unencrypted_or_malformed_webhook_url_is_rejected(url: str) -> None:
    with pytest.raises(SettingsError, match="DEFACER_WEBHOOK_URL"):
        Settings.from_environment({**REQUIRED, "DEFACER_WEBHOOK_URL": url})


@pytest.mark.parametrize(
    "origin", ["127.0.0.1:8080", "https://example.com/", "https://example.com/x", "ftp://a", "", "http://a,"]
)
def test_console_origins_have_no_path(origin: str) -> None:
    assert Settings.from_environment(
        {**REQUIRED, "DEFACER_CONSOLE_ORIGINS": "http://127.0.0.1:80"}
    ).console_origins
    with pytest.raises(SettingsError, match="DEFACER_CONSOLE_ORIGINS"):
        Settings.from_environment({**REQUIRED, "DEFACER_CONSOLE_ORIGINS": origin})


@pytest.mark.parametrize(
    ("name", "value"),
    [("LIVE_SCHEMES", "http,ftp"), ("LIVE_SCHEMES", ""), ("LIVE_HOSTS", "a.example, b.example"),
     ("LIVE_PORTS", "80,x"), ("LIVE_PORTS", "0"), ("LIVE_PORTS", "80;443"), ("LIVE_PORTS", "65536"),
     ("LIVE_HOSTS", ","), ("LIVE_PRIVATE_HOSTS", "169.254.0.0/16"), ("LIVE_PRIVATE_HOSTS", "0.0.0.0/0"),
     ("LIVE_PRIVATE_HOSTS", "192.168.1.7/24"), ("LIVE_PRIVATE_HOSTS", "camera"),
     ("LIVE_HOSTS", "https://a.example"), ("LIVE_ORIGINS", "localhost:1")],
)  # fmt: skip
def test_invalid_live_restriction_is_rejected(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({**REQUIRED, f"DEFACER_{name}": value})


def test_secret_is_never_shown() -> None:
    settings = Settings.from_environment({**REQUIRED, "DEFACER_WEBHOOK_SECRET": SECRET})
    assert SECRET not in f"{settings!r} {settings.model_dump_json()}"
    with pytest.raises(SettingsError, match="DEFACER_WEBHOOK_SECRET") as caught:
        Settings.from_environment({**REQUIRED, "DEFACER_WEBHOOK_SECRET": SECRET[1:]})
    assert SECRET[1:] not in f"{caught.value} {caught.value.__cause__}"


def test_trailing_whitespace_does_not_lengthen_a_secret() -> None:
    with pytest.raises(SettingsError, match="DEFACER_WEBHOOK_SECRET"):
        Settings.from_environment({**REQUIRED, "DEFACER_WEBHOOK_SECRET": SECRET[1:] + "\n"})
