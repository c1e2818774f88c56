"""Addresses that a user gives: each attempt to make the service read what only it can reach is refused."""

import http.client
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from defacer.web.live.connection import NO_VIDEO, Connection
from defacer.web.live.rtsp_relay import checked
from defacer.web.live.stream_reader import Reader
from defacer.web.live.url_policy import Address, AddressError, Rules, check, resolve
from tests.servers import wait_until

PUBLIC = "93.184.215.14"
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - that is the point
NOT_PUBLIC = [
    "127.0.0.1", "127.8.8.8", NO_ADDRESS, "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    # What Python calls global although it leads inwards, or to nobody: with an IPv4 address inside, and others.
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


def leads_to(*answers: str):  # type: ignore[no-untyped-def]
    return lambda host, port: list(answers)


@pytest.mark.parametrize("answer", NOT_PUBLIC)
def test_a_name_that_leads_to_an_inner_address_is_refused(answer: str) -> None:
    with pytest.raises(AddressError, match="private network"):
        check("http://camera.example/", Rules(), leads_to(answer))


@pytest.mark.parametrize("answer", PUBLIC_TOO)
def test_a_public_address_beside_those_may_be_read(answer: str) -> None:
    assert check("http://camera.example/", Rules(), leads_to(answer)).ips == (answer,)


@pytest.mark.parametrize("answer", NOT_PUBLIC)
def test_one_inner_address_among_public_ones_is_enough(answer: str) -> None:
    with pytest.raises(AddressError, match="private network"):
        check("rtsp://camera.example/", Rules(), leads_to(PUBLIC, answer))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]", "0",
     NO_ADDRESS],
)  # fmt: skip
def test_this_machine_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(AddressError):
        check(f"http://{host}/", Rules())


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd", "concat:http://a.example/1|http://a.example/2", "tcp://a.example:1", "udp://a.example:1",
        "ftp://a.example/", "gopher://a.example/", "hls+http://a.example/x", "data:video/mp4;base64,AAAA", "pipe:0",
        "subfile,,start,0,end,9,,:http://a.example/", "/etc/passwd", "camera.example/stream", "rtmp://a.example/live",
        "async:http://a.example", "crypto:http://a.example", "rtsps://a.example/", "",
    ],
)  # fmt: skip
def test_only_schemes_that_are_allowed_are_read(text: str) -> None:
    with pytest.raises(AddressError):
        check(text, Rules(), leads_to(PUBLIC))


@pytest.mark.parametrize(
    "text",
    [
        "http://a.example/\r\nHost: b", "http://a.example/ x", "http://a.example\\@b.example/", "http:///x", "http://",
        "http://a.example:99999/", "http://a.example:x/", "http://[::1/", "http://a.example:0/", "http://\u0430.example/",
        "http://a%0d%0ab:c%0a@a.example/", "http://" + "a" * 3000,
    ],
)  # fmt: skip
def test_what_cannot_be_taken_apart_without_doubt_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        check(text, Rules(), leads_to(PUBLIC))


def test_hosts_that_are_not_listed_are_refused_where_there_is_a_list() -> None:
    rules = Rules(hosts=("cameras.example",))
    for text in ("http://cameras.example/", "rtsp://yard.cameras.example./a?b=c"):
        assert check(text, rules, leads_to(PUBLIC)).ips == (PUBLIC,)
    for text in ("http://example/", "http://evilcameras.example/", "http://cameras.example.evil.test/"):
        with pytest.raises(AddressError, match="not among"):
            check(text, rules, leads_to(PUBLIC))


def test_ports_that_are_not_listed_are_refused_where_there_is_a_list_before_any_name_is_looked_up() -> None:
    def unasked(host: str, port: int) -> list[str]:
        raise AssertionError("a name was looked up")

    rules = Rules(ports=(80, 554))
    for text in ("http://a.example/", "http://a.example:554/", "rtsp://a.example:80/"):
        assert check(text, rules, leads_to(PUBLIC)).ips == (PUBLIC,)
    for text in ("https://a.example/", "http://a.example:22/", "rtsp://a.example:8554/"):
        with pytest.raises(AddressError, match="not among"):
            check(text, rules, unasked)


def test_an_unknown_name_and_one_of_a_private_network_are_told_apart_by_nobody() -> None:
    told = []
    for resolver in (leads_to("10.0.0.1"), lambda host, port: resolve("no-such-host.invalid", port)):
        with pytest.raises(AddressError) as caught:
            check("http://a.example/", Rules(), resolver)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_the_connection_goes_to_the_answer_that_was_checked() -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    address = check("https://camera.example/a?b=c", Rules(), lambda host, port: next(answers))
    assert (address.ips, address.port, address.host, address.target) == (
        (PUBLIC,),
        443,
        "camera.example",
        "/a?b=c",
    )


def test_neither_the_path_nor_the_password_is_printed() -> None:
    address = check("rtsp://me:secret@camera.example/private?token=1", Rules(), leads_to(PUBLIC))
    assert address.credentials == ("me", "secret")
    for word in ("secret", "private", "token"):
        assert word not in repr(address)


def test_this_machine_can_be_allowed_and_other_inner_addresses_stay_refused() -> None:
    rules = Rules(loopback=True)
    assert check("http://127.0.0.1:8000/", rules).port == 8000
    for answer in ("10.0.0.1", "169.254.169.254", "fe80::1", NO_ADDRESS):
        with pytest.raises(AddressError, match="private network"):
            check("http://camera.example/", rules, leads_to(answer))


def messages(data: bytes) -> list[bytes]:
    file, found = io.BytesIO(data), []
    while piece := checked(file):
        found.append(piece)
    return found


def test_the_relay_passes_answers_and_pictures_on_as_they_are() -> None:
    parts = [
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 4\r\n\r\nbody",
        b"$\x00\x00\x05hello",
        b"RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\n\r\n",
    ]
    assert messages(b"".join(parts)) == parts


@pytest.mark.parametrize(
    "answer",
    [
        b"RTSP/1.0 302 Moved\r\nLocation: rtsp://127.0.0.1/\r\n\r\n",
        b"RTSP/1.0 301 Moved\nLocation: rtsp://127.0.0.1/\n\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"REDIRECT rtsp://127.0.0.1/ RTSP/1.0\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nX: " + b"x" * 200_000,
        b"RTSP/1.0 200 OK\r\nContent-Length: 9999999\r\n\r\n",
    ],
)
def test_the_relay_passes_nothing_on_that_leads_elsewhere(answer: bytes) -> None:
    with pytest.raises(ValueError, match="answer"):
        messages(b"$\x00\x00\x01x" + answer)


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A port that notes what it is sent."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as connection:
                got.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], got
        thread.join(30)


def test_a_connection_goes_to_the_ip_whatever_the_name() -> None:
    with listening() as (port, got):
        address = Address("http", "no-such-host.invalid", port, "/", None, ("127.0.0.1",))
        connection = http.client.HTTPConnection(address.host, port)
        connection.sock = Connection(address).open()
        connection.request("GET", "/")
        assert connection.getresponse().status == 204
        connection.close()
    assert b"no-such-host.invalid" in got[0]


def test_a_port_that_is_closed_and_one_that_speaks_something_else_are_told_apart_by_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    told = {said_of("http", port), said_of("https", port), said_of("rtsp", port)}
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 3)

        threading.Thread(target=greet, daemon=True).start()
        port = server.getsockname()[1]
        told |= {said_of("http", port), said_of("https", port), said_of("rtsp", port)}
        server.shutdown(socket.SHUT_RDWR)
    assert told == {NO_VIDEO}


def said_of(scheme: str, port: int) -> str | None:
    """Why a stream of this address ended."""
    stream = NoStream()
    reader = Reader(Address(scheme, "camera.invalid", port, "/", None, ("127.0.0.1",)), stream)  # type: ignore[arg-type]
    reader.start()
    assert reader.join(60)
    return stream.ended


def test_a_reader_that_is_stopped_before_it_began_ends() -> None:
    for scheme in ("http", "https", "rtsp"):
        reader = Reader(Address(scheme, "camera.invalid", 9, "/", None, ("127.0.0.1",)), NoStream())  # type: ignore[arg-type]
        reader.stop()
        reader.start()
        assert reader.join(60)


class NoStream:
    """What a reader whose address never sends a frame asks of its stream."""

    ended: str | None = None
    has_taken = False

    def end(self, why: str) -> None:
        self.ended = why


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp"])
def test_who_drips_an_answer_byte_by_byte_holds_nothing_that_was_stopped(scheme: str) -> None:
    """Each byte comes within the time that a read is given: only who stops the reader ends it."""
    came, gone = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with server.accept()[0] as connection:
                connection.recv(4096)
                came.set()
                while not gone.wait(0.1):
                    try:
                        connection.sendall({"http": b"H", "https": b"\x16", "rtsp": b"R"}[scheme])
                    except OSError:
                        return

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        port = server.getsockname()[1]
        reader = Reader(Address(scheme, "camera.invalid", port, "/", None, ("127.0.0.1",)), NoStream())  # type: ignore[arg-type]
        reader.start()
        assert came.wait(30)
        if scheme != "https":  # of which the first bytes are no handshake already
            assert not reader.join(0.5)
        reader.stop()
        wait_until(lambda: reader.join(0.1), "the reader's thread had ended", 30)
        gone.set()
        dripping.join(30)
