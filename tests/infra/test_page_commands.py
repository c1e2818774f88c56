"""The commands of the pages: gcloud accepts each, and those of infra/RUNBOOK.md work against emulators."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.settings import PREFIX, Settings
from defacer.pipeline.topology import LOST_LETTERS
from defacer_emulator.services.messaging import create_publisher, create_subscriber
from defacer_emulator.services.storage import create_client
from tests.contract.pubsub_servers import google_pubsub
from tests.infra.gcloud import find_refused, requires_gcloud
from tests.reference.pages import markdown_pages
from tests.servers import storage_server
from tests.terraform import INFRA, blocks

CODE = re.compile(r"^```[a-z]*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
PROJECT, JOB = "my-project", "0123456789abcdef0123"  # as the pages name them
RUNBOOK = INFRA / "RUNBOOK.md"
# Cloud Logging has no emulator, so gcloud only parses this command.
NOT_RUN = {"gcloud logging read"}


def gcloud_commands(page: Path) -> list[str]:
    """Return the gcloud commands of a page. A command without arguments is the name of one, so it gets `--help`."""
    found = []
    for block, span in CODE.findall(page.read_text()):
        for line in re.sub(r"\\\n\s*", "", block or span).splitlines():
            inner = re.search(r"\$\((gcloud [^)]+)\)", line)
            whole = re.search(r"(?:^|\| )(gcloud [a-z].*?)(?:\s+#.*)?$", line)
            found += [match[1] for match in (inner or whole,) if match]
    return [command if re.search(r"--|[^a-z -]", command) else f"{command} --help" for command in found]


@requires_gcloud
def test_gcloud_accepts_every_command_of_the_pages(tmp_path: Path) -> None:
    commands = sorted({command for page in markdown_pages() for command in gcloud_commands(page)})
    assert len(commands) > 10
    assert find_refused(commands, tmp_path) == {}


@requires_gcloud
def test_misspelt_gcloud_commands_are_found(tmp_path: Path) -> None:
    wrong = ["gcloud storage ls --bogus", "gcloud pubsub topics publish x --attribute y", "gcloud sql"]
    assert set(find_refused(wrong, tmp_path)) == set(wrong)


def test_settings_that_the_pages_name_exist() -> None:
    variables = dict(blocks("variable"))
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {
        "DEFACER_WEIGHTS_DIR", "DEFACER_TOOLS", "DEFACER_EVAL"
    }  # fmt: skip
    for page in set(INFRA.glob("*.md")) - {INFRA / "CAPACITY.md"}:  # it names inputs of the model
        text = page.read_text()
        assert set(re.findall(r"\bDEFACER_[A-Z_]+\b", text)) <= known, page.name
        blocks_of_hcl = "".join(re.findall(r"^```hcl\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        assigned = re.findall(r"^([a-z_]+) +=", blocks_of_hcl, re.MULTILINE)
        assigned += re.findall(r"`([a-z_]+) = [^`]+`", text)
        assert set(assigned) <= set(variables), page.name
        assert set(re.findall(r'`"([a-z_]+)": [^`]+`', text)) <= set(Policy.model_fields), page.name


def test_no_command_writes_a_setting_twice() -> None:
    """Terraform refuses a file that sets a variable twice, as a repeated `echo ... >>` does."""
    for page in INFRA.glob("*.md"):
        assert not re.search(r">> *\S*tfvars", page.read_text()), page.name


def test_settings_and_codes_of_the_runbook_exist() -> None:
    text = RUNBOOK.read_text()
    names = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text))
    assert names
    assert names <= set(dict(blocks("variable")))
    rows = "".join(re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE))
    codes = set(re.findall(r"`([a-z-]+)`", rows))
    assert "exhausted" in codes
    assert codes <= {code.value for code in ErrorCode}


@dataclass
class Operator:
    """Runs the commands of the runbook with gcloud against the emulators. `done` lists them."""

    folder: Path
    environment: dict[str, str]
    pubsub: str
    storage: str
    done: list[str] = field(default_factory=list)

    def run(self, beginning: str, **replacements: str) -> str:
        """Run the command that begins with these words, with values for its placeholders. Return its output."""
        (command,) = (found for found in gcloud_commands(RUNBOOK) if found.startswith(beginning))
        self.done.append(command)
        for placeholder, value in replacements.items():
            command = command.replace(placeholder, value)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    if not shutil.which("gcloud"):
        pytest.skip("gcloud is not installed")
    (tmp_path / "token").write_text("some")
    with ExitStack() as stack:
        pubsub = stack.enter_context(google_pubsub(tmp_path)).address
        storage = stack.enter_context(storage_server())
        environment = {
            **os.environ,
            "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(tmp_path / "token"),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": f"http://{pubsub}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{storage}/storage/v1/",
        }
        yield Operator(tmp_path, environment, pubsub, storage)


@pytest.mark.slow
def test_commands_of_the_runbook_work_on_emulators(operator: Operator) -> None:
    repeat_a_lost_letter(operator)
    stop_the_pushes_to_worker(operator)
    read_a_failure(operator)
    commands = {command for command in gcloud_commands(RUNBOOK) if not command.endswith("--help")}
    assert {" ".join(command.split()[:3]) for command in commands - set(operator.done)} == NOT_RUN


def repeat_a_lost_letter(operator: Operator) -> None:
    """Publish a lost letter again, and acknowledge it."""
    topics, subscriptions = f"projects/{PROJECT}/topics", f"projects/{PROJECT}/subscriptions"
    attributes = {"objectId": "channels/a/videos/one, two.mp4", "eventType": "OBJECT_FINALIZE"}
    lost = {"data": b'{"kind": "storage#object"}', "attributes": attributes}
    with create_publisher(operator.pubsub) as publisher, create_subscriber(operator.pubsub) as subscriber:
        for topic in (LOST_LETTERS, "dead-letters"):
            publisher.create_topic(request={"name": f"{topics}/{topic}"})
            request = {"name": f"{subscriptions}/{topic}", "topic": f"{topics}/{topic}"}
            subscriber.create_subscription(request=request)
        publisher.publish(request={"topic": f"{topics}/{LOST_LETTERS}", "messages": [lost]})

        ((found),) = json.loads(operator.run("gcloud pubsub subscriptions pull"))
        listed = "^;^" + ";".join(f"{key}={value}" for key, value in found["message"]["attributes"].items())
        operator.run(
            "gcloud pubsub topics publish",
            **{"<<< DATA": f"<<< {found['message']['data']}", "KEY=VALUE": shlex.quote(listed)},
        )
        repeated = subscriber.pull(
            request={"subscription": f"{subscriptions}/dead-letters", "max_messages": 1}, timeout=30
        )
        (message,) = repeated.received_messages
        assert (message.message.data, dict(message.message.attributes)) == (lost["data"], attributes)
        operator.run("gcloud pubsub subscriptions ack", ACKID=shlex.quote(found["ackId"]))


def stop_the_pushes_to_worker(operator: Operator) -> None:
    """Messages wait in the subscription afterwards, because it is a pull subscription."""
    path = f"projects/{PROJECT}/subscriptions/worker"
    with create_publisher(operator.pubsub) as publisher, create_subscriber(operator.pubsub) as subscriber:
        topic = f"projects/{PROJECT}/topics/segments"
        publisher.create_topic(request={"name": topic})
        push = {"push_endpoint": "http://127.0.0.1:9/"}
        subscriber.create_subscription(request={"name": path, "topic": topic, "push_config": push})
        operator.run("gcloud pubsub subscriptions modify-push-config")
        changed = subscriber.get_subscription(request={"subscription": path})
        assert changed.push_config.push_endpoint == ""


def read_a_failure(operator: Operator) -> None:
    """Find the failed jobs, and read the sentence for the owner of the video."""
    client = create_client(PROJECT, operator.storage)
    name = f"jobs/{JOB}/failed.json"
    client.create_bucket(f"{PROJECT}-work").blob(name).upload_from_string('{"reason": "some"}')
    assert f"gs://{PROJECT}-work/{name}" in operator.run("gcloud storage ls")
    assert operator.run("gcloud storage cat") == '{"reason": "some"}'
