"""The services of Google that a container calls: the metadata server, the keys of Identity-Aware Proxy, and signing.

The services reach these under Google's own host names: a private /etc/hosts leads to a server with its own certificate.
"""

import datetime
import ipaddress
import json
import random
import re
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from defacer_emulator.chaos.http import Request, Response, send
from tests.console.identity import Signer
from tests.infra.guards import Access
from tests.infra.stub_provider import PROJECT
from tests.permissions import Need
from tests.proxy import serving

HOSTS = ("www.gstatic.com", "iamcredentials.googleapis.com")
SIGN = re.compile(r"/v1/projects/-/serviceAccounts/(.+):signBlob")
TOKEN = "token of "  # noqa: S105 - no secret
Handler = Callable[[str, dict[str, str]], tuple[int, dict[str, str], str]]


@dataclass(frozen=True)
class Platform:
    """The hosts file and the certificate for the services, and the key of Identity-Aware Proxy."""

    hosts: Path
    certificate: Path
    proxy: Signer

    @contextmanager
    def environment_of(self, member: str) -> Iterator[dict[str, str]]:
        """Yield the variables that lead to the metadata server of this member."""
        headers = {"Metadata-Flavor": "Google", "Content-Type": "application/json"}
        account = member.removeprefix("serviceAccount:")

        def answer(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], str]:
            if path.startswith("/computeMetadata/v1/instance/service-accounts/") and "/token" in path:
                token = {"access_token": TOKEN + member, "expires_in": 3600, "token_type": "Bearer"}
                return 200, headers, json.dumps(token)
            details = {"email": account, "scopes": [], "aliases": ["default"]}
            return 200, headers, json.dumps(details)

        with _serve("127.0.0.1", 0, answer) as port:
            yield {
                "GCE_METADATA_HOST": f"127.0.0.1:{port}",
                "GCE_METADATA_IP": f"127.0.0.1:{port}",
                "SSL_CERT_FILE": str(self.certificate),
                "REQUESTS_CA_BUNDLE": str(self.certificate),
            }


@contextmanager
def open_platform(folder: Path, access: Access) -> Iterator[Platform]:
    """Serve Google's hosts on an own loopback address, because their port is fixed."""
    proxy = Signer()
    address = str(ipaddress.IPv4Address(int(ipaddress.IPv4Address("127.64.0.0")) + random.randrange(2**22)))
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    _write_certificate(certificate, key)
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{address} {' '.join(HOSTS)}\n")

    def answer(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
        signed = SIGN.fullmatch(path)
        if signed:
            member = headers["authorization"].removeprefix(f"Bearer {TOKEN}")
            need = Need("iam.serviceAccounts.signBlob", f"projects/{PROJECT}/serviceAccounts/{signed[1]}")
            if not access.allows(member, need):
                return 403, {}, "{}"
            return 200, {}, json.dumps({"keyId": "1", "signedBlob": b64encode(b"some signature").decode()})
        return 200, {}, json.dumps({"key": proxy.public_key})

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ExitStack() as stack:
        stack.enter_context(_serve(address, 443, answer, context))
        yield Platform(hosts, certificate, proxy)


@contextmanager
def browse(page: str, origin: str, headers: Mapping[str, str]) -> Iterator[str]:
    """Yield an address that serves a page as `origin` does, to a user with the headers of Identity-Aware Proxy."""
    replaced = {"host": urlsplit(origin).netloc, "x-forwarded-proto": "https", **headers}

    async def handle(request: Request) -> Response:
        kept = [pair for pair in request.headers if pair[0].lower() not in {*replaced, "origin"}]
        own = (("origin", origin),) if request.header("origin") else ()
        response = await send(page, replace(request, headers=(*kept, *replaced.items(), *own)))
        # The client below has no https, so it would not send a secure cookie again.
        plain = tuple(
            (name, value.replace("; secure", "").replace("; Secure", "")) for name, value in response.headers
        )
        return replace(response, headers=plain)

    with serving(handle) as address:
        yield address


@contextmanager
def _serve(host: str, port: int, answer: Handler, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    class Server(BaseHTTPRequestHandler):
        def _respond(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, extra, text = answer(self.path.partition("?")[0], headers)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text)), **extra}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = _respond  # noqa: N815 - the base class's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Server)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _write_certificate(certificate: Path, key: Path) -> None:
    """Write a self-signed certificate for HOSTS, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rehearsal")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
