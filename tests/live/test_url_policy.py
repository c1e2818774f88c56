"""The check of camera addresses refuses each attempt to make the service read internal addresses (SSRF)."""

import http.client
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network

import pytest

from defacer.web.live.connection import NO_VIDEO, Connection
from defacer.web.live.rtsp_relay import read_message
from defacer.web.live.stream_reader import StreamReader
from defacer.web.live.url_policy import Address, AddressError, Rules, check_address, resolve_host
from tests.servers import wait_until

PUBLIC = "93.184.215.14"
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - the test needs it
NOT_PUBLIC = [
    "127.0.0.1", "127.8.8.8", NO_ADDRESS, "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    # Python calls these global: addresses with an embedded IPv4 address, and special networks.
    "::7f00:1", "::a9fe:a9fe", "::5db8:d70e", "::ffff:0:7f00:1", "::ffff:169.254.169.254", "::ffff:93.184.215.14",
    "::ffff:168.63.129.16", "64:ff9b::7f00:1", "64:ff9b::5db8:d70e", "64:ff9b::a83f:8110", "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1::1", "2002:5db8:d70e::1", "2002:a9fe:a9fe::", "2001:0:5db8:d70e::1",
    "fec0::1", "feff::1", "5f00::1", "3fff::1", "3fff:fff::1", "4000::1", "100::1", "2001:1::1", "2001:20::1",
    "fd20:ce::254", "fe80::1%1",
    "192.88.99.1", "168.63.129.16", "192.0.0.9", "192.0.0.170", "199.36.153.4", "100.100.100.200",
]  # fmt: skip
PUBLIC_TOO = [
    "1.1.1.1", "168.63.129.15", "192.88.98.1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00:1450:4001::1",
    "2001:4860:4860::8888", "3ffe::1",
]  # fmt: skip


def resolves_to(*ips: str):  # type: ignore[no-untyped-def]
    return lambda host, port: list(ips)


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_host_of_internal_address_is_refused(ip: str) -> None:
    with pytest.raises(AddressError, match="private network"):
        check_address("http://camera.example/", Rules(), resolves_to(ip))


@pytest.mark.parametrize("ip", ["192.168.1.7", "fd12::7"])
def test_host_in_a_named_private_network_is_allowed(ip: str) -> None:
    rules = Rules(private=(ip_network("192.168.1.0/24"), ip_network("fd12::/16")))
    assert check_address("rtsp://camera.example/", rules, resolves_to(ip)).ips == (ip,)


@pytest.mark.parametrize("ip", ["192.168.2.7", "10.0.0.1", "169.254.169.254", "127.0.0.1", "fd13::7"])
def test_host_outside_the_named_private_networks_is_refused(ip: str) -> None:
    rules = Rules(private=(ip_network("192.168.1.0/24"), ip_network("fd12::/16")))
    with pytest.raises(AddressError, match="private network"):
        check_address("rtsp://camera.example/", rules, resolves_to("192.168.1.7", ip))


@pytest.mark.parametrize("ip", PUBLIC_TOO)
def test_host_of_public_address_is_allowed(ip: str) -> None:
    assert check_address("http://camera.example/", Rules(), resolves_to(ip)).ips == (ip,)


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_host_is_refused_if_any_of_its_addresses_is_internal(ip: str) -> None:
    with pytest.raises(AddressError, match="private network"):
        check_address("rtsp://camera.example/", Rules(), resolves_to(PUBLIC, ip))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]", "0",
     NO_ADDRESS],
)  # fmt: skip
def test_this_machine_is_refused_in_any_notation(host: str) -> None:
    with pytest.raises(AddressError):
        check_address(f"http://{host}/", Rules())


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd", "concat:http://a.example/1|http://a.example/2", "tcp://a.example:1", "udp://a.example:1",
        "ftp://a.example/", "gopher://a.example/", "hls+http://a.example/x", "data:video/mp4;base64,AAAA", "pipe:0",
        "subfile,,start,0,end,9,,:http://a.example/", "/etc/passwd", "camera.example/stream", "rtmp://a.example/live",
        "async:http://a.example", "crypto:http://a.example", "rtsps://a.example/", "",
    ],
)  # fmt: skip
def test_scheme_that_is_not_allowed_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        check_address(text, Rules(), resolves_to(PUBLIC))


@pytest.mark.parametrize(
    "text",
    [
        "http://a.example/\r\nHost: b", "http://a.example/ x", "http://a.example\\@b.example/", "http:///x", "http://",
        "http://a.example:99999/", "http://a.example:x/", "http://[::1/", "http://a.example:0/", "http://\u0430.example/",
        "http://a%0d%0ab:c%0a@a.example/", "http://" + "a" * 3000,
    ],
)  # fmt: skip
def test_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        check_address(text, Rules(), resolves_to(PUBLIC))


def test_host_that_is_not_listed_is_refused() -> None:
    rules = Rules(hosts=("cameras.example",))
    for text in ("http://cameras.example/", "rtsp://yard.cameras.example./a?b=c"):
        assert check_address(text, rules, resolves_to(PUBLIC)).ips == (PUBLIC,)
    for text in ("http://example/", "http://evilcameras.example/", "http://cameras.example.evil.test/"):
        with pytest.raises(AddressError, match="not among"):
            check_address(text, rules, resolves_to(PUBLIC))


def test_port_that_is_not_listed_is_refused_before_dns() -> None:
    def fail_on_dns(host: str, port: int) -> list[str]:
        raise AssertionError("a host name was resolved")

    rules = Rules(ports=(80, 554))
    for text in ("http://a.example/", "http://a.example:554/", "rtsp://a.example:80/"):
        assert check_address(text, rules, resolves_to(PUBLIC)).ips == (PUBLIC,)
    for text in ("https://a.example/", "http://a.example:22/", "rtsp://a.example:8554/"):
        with pytest.raises(AddressError, match="not among"):
            check_address(text, rules, fail_on_dns)


def test_unknown_and_internal_hosts_get_the_same_message() -> None:
    messages = []
    for resolver in (resolves_to("10.0.0.1"), lambda host, port: resolve_host("no-such-host.invalid", port)):
        with pytest.raises(AddressError) as caught:
            check_address("http://a.example/", Rules(), resolver)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_address_keeps_the_checked_ip_of_a_single_resolution() -> None:
    resolutions = iter([[PUBLIC], ["127.0.0.1"]])
    address = check_address("https://camera.example/a?b=c", Rules(), lambda host, port: next(resolutions))
    assert (address.ips, address.port, address.host, address.target) == (
        (PUBLIC,),
        443,
        "camera.example",
        "/a?b=c",
    )


def test_repr_hides_path_and_password() -> None:
    address = check_address("rtsp://me:secret@camera.example/private?token=1", Rules(), resolves_to(PUBLIC))
    assert address.credentials == ("me", "secret")
    for word in ("secret", "private", "token"):
        assert word not in repr(address)


def test_allowed_loopback_leaves_other_internal_addresses_refused() -> None:
    rules = Rules(loopback=True)
    assert check_address("http://127.0.0.1:8000/", rules).port == 8000
    for ip in ("10.0.0.1", "169.254.169.254", "fe80::1", NO_ADDRESS):
        with pytest.raises(AddressError, match="private network"):
            check_address("http://camera.example/", rules, resolves_to(ip))


def read_messages(data: bytes) -> list[bytes]:
    file, messages = io.BytesIO(data), []
    while message := read_message(file):
        messages.append(message)
    return messages


def test_relay_forwards_responses_and_video_unchanged() -> None:
    parts = [
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 4\r\n\r\nbody",
        b"$\x00\x00\x05hello",
        b"RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\n\r\n",
    ]
    assert read_messages(b"".join(parts)) == parts


@pytest.mark.parametrize(
    "response",
    [
        b"RTSP/1.0 302 Moved\r\nLocation: rtsp://127.0.0.1/\r\n\r\n",
        b"RTSP/1.0 301 Moved\nLocation: rtsp://127.0.0.1/\n\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"REDIRECT rtsp://127.0.0.1/ RTSP/1.0\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nX: " + b"x" * 200_000,
        b"RTSP/1.0 200 OK\r\nContent-Length: 9999999\r\n\r\n",
    ],
)
def test_relay_refuses_redirects_and_invalid_responses(response: bytes) -> None:
    with pytest.raises(ValueError, match="response"):
        read_messages(b"$\x00\x00\x01x" + response)


@contextmanager
def recording_server() -> Iterator[tuple[int, list[bytes]]]:
    """Listen on a port and record the received bytes."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as connection:
                received.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], received
        thread.join(30)


def test_connection_goes_to_the_checked_ip_not_to_the_host_name() -> None:
    with recording_server() as (port, received):
        address = Address("http", "no-such-host.invalid", port, "/", None, ("127.0.0.1",))
        connection = http.client.HTTPConnection(address.host, port)
        connection.sock = Connection(address).open()
        connection.request("GET", "/")
        assert connection.getresponse().status == 204
        connection.close()
    assert b"no-such-host.invalid" in received[0]


def test_closed_port_and_other_protocol_get_the_same_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    reasons = {end_reason("http", port), end_reason("https", port), end_reason("rtsp", port)}
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 3)

        threading.Thread(target=greet, daemon=True).start()
        port = server.getsockname()[1]
        reasons |= {end_reason("http", port), end_reason("https", port), end_reason("rtsp", port)}
        server.shutdown(socket.SHUT_RDWR)
    assert reasons == {NO_VIDEO}


def end_reason(scheme: str, port: int) -> str | None:
    """Return why a stream of this address ended."""
    stream = FakeStream()
    reader = StreamReader(Address(scheme, "camera.invalid", port, "/", None, ("127.0.0.1",)), stream)  # type: ignore[arg-type]
    reader.start()
    assert reader.join(60)
    return stream.ended


def test_reader_that_is_stopped_before_its_start_ends() -> None:
    for scheme in ("http", "https", "rtsp"):
        reader = StreamReader(Address(scheme, "camera.invalid", 9, "/", None, ("127.0.0.1",)), FakeStream())  # type: ignore[arg-type]
        reader.stop()
        reader.start()
        assert reader.join(60)


class FakeStream:
    """The part of a stream that a reader uses if its address never sends a frame."""

    ended: str | None = None
    has_frames = False

    def end(self, reason: str, failure: BaseException | None = None) -> None:
        self.ended = reason


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp"])
def test_slow_drip_of_bytes_does_not_keep_a_stopped_reader_alive(scheme: str) -> None:
    """Each byte arrives before the read's timeout, so only `stop` can end the reader."""
    requested, finished = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with server.accept()[0] as connection:
                connection.recv(4096)
                requested.set()
                while not finished.wait(0.1):
                    try:
                        connection.sendall({"http": b"H", "https": b"\x16", "rtsp": b"R"}[scheme])
                    except OSError:
                        return

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        port = server.getsockname()[1]
        reader = StreamReader(
            Address(scheme, "camera.invalid", port, "/", None, ("127.0.0.1",)),
            FakeStream(),  # type: ignore[arg-type]
        )
        reader.start()
        assert requested.wait(30)
        if scheme != "https":  # its first bytes already fail the TLS handshake
            assert not reader.join(0.5)
        reader.stop()
        wait_until(lambda: reader.join(0.1), "the reader's thread has ended", 30)
        finished.set()
        dripping.join(30)
