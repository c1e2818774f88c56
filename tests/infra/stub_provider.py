"""A stub of the provider "google", so that Terraform can plan and apply infra/ without a cloud.

The stub implements Terraform's plugin protocol (version 5, docs/plugin-protocol in Terraform's repository) inside the
test. It uses the real provider's schema (google_schema.json) and fills in the computed attributes. It cannot check what
only Google's servers check: rejected values, roles and quotas.
"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.infra import messagepack
from tests.infra.provider_schema import read_schema

PROVIDER = "registry.terraform.io/hashicorp/google"
PROJECT, NUMBER = "some-project", "123456789012"
# The used part of the protocol's messages: "number name type". A star marks a repeated field.
MESSAGES = {
    "Value": "1 msgpack bytes",
    "Attribute": "1 name string, 2 type bytes, 4 required bool, 5 optional bool, 6 computed bool",
    "Block": "2 attributes *Attribute, 3 block_types *Nested",
    "Nested": "1 type_name string, 2 block Block, 3 nesting int64, 4 min_items int64, 5 max_items int64",
    "Schema": "1 version int64, 2 block Block",
    "Named": "1 key string, 2 value Schema",  # an entry of a map
    "Schemas": "1 provider Schema, 2 resources *Named, 3 sources *Named",
    "Raw": "1 json bytes",
    # One type for several requests and responses. Fields that a method lacks stay empty.
    "Config": "1 value Value",
    "Typed": "1 type_name string, 2 value Value, 3 raw Raw",
    "Change": "1 type_name string, 2 prior Value, 3 planned Value",
    "Planned": "1 value Value, 5 legacy bool",
    "Diagnostic": "1 severity int64, 2 summary string",
    "Applied": "1 value Value, 3 diagnostics *Diagnostic, 4 legacy bool",
    "Nothing": "",
}
REQUESTS = {
    "GetSchema": "Nothing",
    "PrepareProviderConfig": "Config",
    "ValidateResourceTypeConfig": "Nothing",
    "ValidateDataSourceConfig": "Nothing",
    "Configure": "Nothing",
    "UpgradeResourceState": "Typed",
    "ReadResource": "Typed",
    "PlanResourceChange": "Change",
    "ApplyResourceChange": "Change",
    "ReadDataSource": "Typed",
    "Stop": "Nothing",
}
SINGLE, LIST = 1, 2  # the nesting of a block
ERROR = 1  # a diagnostic's severity


def _message_classes() -> dict[str, Any]:
    """Return a class for each of MESSAGES."""
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "string": kinds.TYPE_STRING,
        "bytes": kinds.TYPE_BYTES,
        "bool": kinds.TYPE_BOOL,
        "int64": kinds.TYPE_INT64,
    }
    file = descriptor_pb2.FileDescriptorProto(name="stand_in.proto", package="stand_in", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in filter(None, fields.split(", ")):
            number, label, kind = field.split()
            one = message.field.add(name=label, number=int(number))
            one.label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            if kind in scalars:
                one.type = scalars[kind]
            else:
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".stand_in.{kind.removeprefix('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"stand_in.{name}"))
        for name in MESSAGES
    }


class StubProvider:
    """A provider. `resources` are the applied resources by type, including their computed attributes.

    `order` lists their types in the order of application. `rejections` are errors by a resource's display name: each
    error rejects one attempt to create the resource.
    """

    def __init__(self, schema: Path):
        self.resources: dict[str, list[dict[str, Any]]] = {}
        self.order: list[str] = []
        self.rejections: dict[str, list[str]] = {}
        self._schema = read_schema(schema)
        self._new = _message_classes()

    @contextmanager
    def serve(self) -> Iterator[dict[str, str]]:
        """Serve the provider, and yield the environment variables that point Terraform to it."""
        server = grpc.server(ThreadPoolExecutor(8))
        handlers = {method: self._handler(method, request) for method, request in REQUESTS.items()}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("tfplugin5.Provider", handlers),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        address = {"Network": "tcp", "String": f"127.0.0.1:{port}"}
        connection = {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": 1, "Test": True, "Addr": address}
        try:
            yield {"TF_REATTACH_PROVIDERS": json.dumps({PROVIDER: connection})}
        finally:
            server.stop(None)

    def _handler(self, method: str, request: str) -> Any:
        name = re.sub("(?=[A-Z])", "_", method).lower()
        answer = getattr(self, name, lambda _: self._new["Nothing"]())
        return grpc.unary_unary_rpc_method_handler(
            lambda received, _: answer(received),
            request_deserializer=self._new[request].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def _get_schema(self, _: Any) -> Any:
        def named(part: str) -> list[Any]:
            return [
                self._new["Named"](key=key, value=self._schema_of(body))
                for key, body in self._schema[part].items()
            ]

        provider = self._schema_of(self._schema["provider"])
        return self._new["Schemas"](provider=provider, resources=named("resources"), sources=named("data"))

    def _schema_of(self, body: dict[str, Any]) -> Any:
        return self._new["Schema"](block=self._block(body))

    def _block(self, body: dict[str, Any]) -> Any:
        block = self._new["Block"]()
        for name, kind in body.get("a", {}).items():
            required = kind.endswith("!")
            block.attributes.add(
                name=name, type=_type(kind), required=required, optional=not required, computed=not required
            )
        for name in body.get("o", []):
            if name not in body.get("a", {}):
                block.attributes.add(name=name, type=_type("string"), computed=True)
        for name, inner in body.get("b", {}).items():
            minimum, maximum = inner.get("n") or (0, 0)
            many = name != "timeouts"
            block.block_types.add(
                type_name=name, block=self._block(inner), nesting=LIST if many else SINGLE,
                min_items=minimum if many else 0, max_items=maximum if many else 0,
            )  # fmt: skip
        return block

    def _value(self, value: Any) -> Any:
        return self._new["Value"](msgpack=messagepack.pack(value))

    def _prepare_provider_config(self, request: Any) -> Any:
        return self._new["Config"](value=request.value)

    def _upgrade_resource_state(self, request: Any) -> Any:
        return self._new["Config"](value=self._value(json.loads(request.raw.json)))

    def _read_resource(self, request: Any) -> Any:
        return self._new["Config"](value=request.value)

    def _read_data_source(self, request: Any) -> Any:
        found = messagepack.unpack(request.value.msgpack)
        if request.type_name == "google_project":
            found["number"] = NUMBER
        elif request.type_name == "google_storage_project_service_account":
            found["email_address"] = f"service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
        return self._new["Config"](value=self._value(found))

    def _plan_resource_change(self, request: Any) -> Any:
        """Return the requested resource. The computed attributes of a new resource are unknown."""
        planned = messagepack.unpack(request.planned.msgpack)
        if planned is not None and messagepack.unpack(request.prior.msgpack) is None:
            for name in self._computed_attributes(request.type_name):
                planned[name] = messagepack.UNKNOWN if planned.get(name) is None else planned[name]
        return self._new["Planned"](value=self._value(planned), legacy=True)

    def _apply_resource_change(self, request: Any) -> Any:
        made = messagepack.unpack(request.planned.msgpack)
        if made is not None:
            rejections = self.rejections.get(made.get("display_name"), [])
            if rejections:
                rejection = self._new["Diagnostic"](severity=ERROR, summary=rejections.pop(0))
                return self._new["Applied"](value=self._value(None), diagnostics=[rejection], legacy=True)
            for name in self._computed_attributes(request.type_name):
                if made.get(name) in (None, messagepack.UNKNOWN):
                    made[name] = _computed_value(request.type_name, name, made)
            self.resources.setdefault(request.type_name, []).append(made)
            self.order.append(request.type_name)
        return self._new["Applied"](value=self._value(made), legacy=True)

    def _computed_attributes(self, kind: str) -> list[str]:
        body = self._schema["resources"][kind]
        return [*body.get("o", []), *(name for name in ("project", "id") if name in body["a"])]


def _type(kind: str) -> bytes:
    """Return a type of the schema file, such as `list(string)!`, in Terraform's JSON encoding."""
    kind = kind.removesuffix("!")
    many = re.fullmatch(r"(list|set|map)\((\w+)\)", kind)
    return json.dumps([many[1], many[2]] if many else kind).encode()


def _computed_value(kind: str, name: str, made: dict[str, Any]) -> str:
    """Return a computed attribute of a new resource. Those that other resources refer to have Google's form."""
    names = (made.get("name"), made.get("repository_id"))
    known = next((found for found in names if isinstance(found, str)), "")
    account = f"{made.get('account_id')}@{PROJECT}.iam.gserviceaccount.com"
    parts = {
        ("google_service_account", "email"): account,
        ("google_service_account", "member"): f"serviceAccount:{account}",
        ("google_service_account", "name"): f"projects/{PROJECT}/serviceAccounts/{account}",
        ("google_cloud_run_v2_service", "uri"): f"https://{known}.example",
        ("google_pubsub_topic", "id"): f"projects/{PROJECT}/topics/{known}",
        ("google_project_iam_custom_role", "id"): f"projects/{PROJECT}/roles/{made.get('role_id')}",
        ("google_storage_bucket", "url"): f"gs://{known}",
        ("google_artifact_registry_repository", "name"): known,
    }
    return parts.get((kind, name), PROJECT if name == "project" else f"the {name} of {kind} {known}".strip())
