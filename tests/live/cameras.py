"""Cameras for the tests: an HTTP server for MJPEG and other content, and an RTSP server (RFC 2326) over TCP."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av

from tests.live.pictures import FRAMES_PER_SECOND, SIZE, Clip, repeat_frames

Handler = Callable[["WebCamera"], None]


class WebCamera(BaseHTTPRequestHandler):
    """Handles each path with the handler that the test passes."""

    handlers: dict[str, Handler] = {}  # noqa: RUF012 - each test has its own class
    requested: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.requested.append(self.path)
        with suppress(OSError):
            self.handlers[self.path.partition("?")[0]](self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


@contextmanager
def web_camera(**handlers: Handler) -> Iterator[tuple[str, list[str]]]:
    """Serve `/NAME` with the handler NAME. Yield the server's address and the list of requested paths."""
    requested: list[str] = []
    attributes = {
        "handlers": {f"/{name}": handler for name, handler in handlers.items()},
        "requested": requested,
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Camera", (WebCamera,), attributes))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requested
    finally:
        server.shutdown()
        server.server_close()


def serve_mjpeg(clip: Clip) -> Handler:
    """Return a handler that sends the clip in a loop, as cameras do."""

    def handle(camera: WebCamera) -> None:
        camera.send_response(200)
        camera.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        camera.end_headers()
        for jpeg in repeat_frames(clip):
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            camera.wfile.write(head.encode() + jpeg + b"\r\n")
            time.sleep(1 / FRAMES_PER_SECOND)

    return handle


def serve_redirect(to: str) -> Handler:
    def handle(camera: WebCamera) -> None:
        camera.send_response(302)
        camera.send_header("Location", to)
        camera.end_headers()

    return handle


def serve_body(kind: str, data: bytes) -> Handler:
    def handle(camera: WebCamera) -> None:
        camera.send_response(200)
        camera.send_header("Content-Type", kind)
        camera.send_header("Content-Length", str(len(data)))
        camera.end_headers()
        camera.wfile.write(data)

    return handle


SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
c=IN IP4 0.0.0.0
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=control:track0
"""


class _InterleavedWriter:
    """The output of FFmpeg's RTP muxer, with each packet framed for the RTSP connection ("interleaved")."""

    def __init__(self, connection: socket.socket):
        self._connection = connection

    def write(self, data: bytes) -> int:
        channel = 1 if 192 <= data[1] <= 223 else 0  # RTCP or RTP (RFC 5761)
        self._connection.sendall(b"$" + bytes([channel]) + len(data).to_bytes(2, "big") + data)
        return len(data)


@contextmanager
def rtsp_camera(clip: Clip, redirect_to: str | None = None) -> Iterator[str]:
    """Serve the clip as H.264 over RTSP and yield the address. With `redirect_to`, redirect clients there."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection = server.accept()[0]
                threading.Thread(target=handle_client, args=(connection,), daemon=True).start()

    def handle_client(connection: socket.socket) -> None:
        with connection, suppress(OSError, av.error.FFmpegError):
            requests = connection.makefile("r", newline="\r\n")
            while line := requests.readline():
                method, headers = line.split()[0], {}
                while (header := requests.readline().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                respond(connection, method, headers)
                if method == "PLAY":
                    send_clip(connection, clip)

    def respond(connection: socket.socket, method: str, headers: dict[str, str]) -> None:
        status, more, content = "200 OK", "", ""
        if method == "DESCRIBE" and redirect_to:
            status, more = "302 Found", f"Location: {redirect_to}\r\n"
        elif method == "DESCRIBE":
            content = SDP.replace("\n", "\r\n")
            more = f"Content-Type: application/sdp\r\nContent-Length: {len(content)}\r\n"
        elif method == "SETUP":
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method == "OPTIONS":
            more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        response = f"RTSP/1.0 {status}\r\nCSeq: {headers.get('cseq', '0')}\r\n{more}\r\n{content}"
        connection.sendall(response.encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/live"
    finally:
        server.close()


def send_clip(connection: socket.socket, clip: Clip) -> None:
    """Send the clip as RTP, with a key frame and the codec's headers each second."""
    out = av.open(_InterleavedWriter(connection), "w", format="rtp", options={"packetsize": "1400"})
    options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": "keyint=15:repeat-headers=1:annexb=1",
    }
    stream = out.add_stream("libx264", FRAMES_PER_SECOND, options=options)
    stream.width, stream.height = SIZE
    stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
    stream.codec_context.time_base = Fraction(1, FRAMES_PER_SECOND)
    decoder = av.CodecContext.create("mjpeg", "r")
    for number, jpeg in enumerate(repeat_frames(clip)):
        frame = decoder.decode(av.Packet(jpeg))[0].reformat(format="yuv420p", dst_color_range="MPEG")
        frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
        frame.pict_type = 0
        out.mux(stream.encode(frame))
        time.sleep(1 / FRAMES_PER_SECOND)
