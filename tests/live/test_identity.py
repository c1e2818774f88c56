"""The live page behind Identity-Aware Proxy: its sockets need the proxy's token, as its pages do."""

import json
from pathlib import Path

import pytest
import requests
from websockets.exceptions import ConnectionClosed

from defacer.web.common import iap
from defacer_emulator.chaos.http import Request, Response
from tests.cloud_run import cloud_run_proxy
from tests.console.identity import AUDIENCE, Signer
from tests.live.service import Service, live_service
from tests.proxy import serving
from tests.servers import free_port

ORIGIN = "https://live-1.europe-west1.run.app"
# The service trusts the keys at the address that is its first argument.
PROGRAM = """
import sys
from defacer.web.common import iap

iap.KEYS_URL = sys.argv.pop(1)

from defacer.web.live import __main__ as live
sys.exit(live.main())
"""


def read_reason(service: Service) -> str:
    """Open the socket of an unknown stream, and return why it is closed."""
    with (
        service.open_socket("watch", {"id": "unknown"}, ORIGIN) as connection,
        pytest.raises(ConnectionClosed) as closed,
    ):
        connection.recv(60)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.reason


def test_socket_opens_only_through_identity_aware_proxy(tmp_path: Path) -> None:
    signer, stranger = Signer(), Signer()

    async def answer(_: Request) -> Response:
        return Response(200, body=json.dumps({"key": signer.public_key}).encode())

    with (
        serving(answer) as keys,
        live_service(
            tmp_path, "http://127.0.0.1:9", ("-c", PROGRAM, keys), ("--behind-proxy",),
            iap_audience=AUDIENCE, live_origins=ORIGIN,
        ) as service,
    ):  # fmt: skip
        assert read_reason(service) == iap.REFUSED
        for token, status, reason in (
            (signer.sign(), 200, "No such stream, or it has ended. Start a new one."),
            (stranger.sign(), 403, iap.REFUSED),
            (signer.sign(aud="/projects/2"), 403, iap.REFUSED),
        ):
            port = free_port()
            with cloud_run_proxy(service.url, port, [(iap.HEADER, token)]):
                proxied = Service(f"http://127.0.0.1:{port}", service.log)
                assert requests.get(f"{proxied.url}/watch", timeout=60).status_code == status
                assert read_reason(proxied) == reason
