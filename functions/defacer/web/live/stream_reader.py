"""Read a camera's address over a checked connection, and add its frames to a stream."""

import base64
import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import av
from av.container import InputContainer

from defacer.engine.errors import EngineError, VideoError
from defacer.engine.media.reader import DECODER_OPTIONS, DEMUXERS
from defacer.web.live.connection import NO_VIDEO, READ_SECONDS, Connection
from defacer.web.live.rtsp_relay import RtspRelay
from defacer.web.live.stream import Stream
from defacer.web.live.url_policy import Address, AddressError

MULTIPART = "multipart/x-mixed-replace"
READ_AHEAD_SECONDS = 1.0  # of a file, which arrives faster than it plays
MAX_DAMAGED = 250  # frames in a row: ten seconds
ENDED = "The address sends no more video. Start again when it does."
OPTIONS = {**DECODER_OPTIONS, "fflags": "nobuffer", "analyzeduration": "1000000", "probesize": "1000000"}


class StreamReader:
    """Reads in its own thread from `start` until `stop`, until the stream ends, or until the address ends."""

    def __init__(self, address: Address, stream: Stream):
        self._address = address
        self._stream = stream
        self._source = RtspRelay(address) if address.scheme == "rtsp" else _HttpSource(address)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-read", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the connection, also while it is being opened. The thread ends with it."""
        self._stopped.set()
        self._source.close()

    def join(self, seconds: float) -> bool:
        """Wait for the thread, at most this long. Return whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        reason, failure = ENDED, None
        try:
            with self._source as source:
                source.open()
                with open_container(source, self._address) as container:
                    is_file = isinstance(source, _HttpSource) and not source.is_mjpeg
                    self._read_frames(container, is_paced=is_file)
        except (AddressError, EngineError) as error:
            reason = str(error)
        except av.error.FFmpegError:
            reason = ENDED if self._stream.has_frames else NO_VIDEO
        except Exception as error:  # noqa: BLE001 - any exception of this thread must end the stream
            failure = error
        finally:
            self._stream.end(reason, failure)

    def _read_frames(self, container: InputContainer, is_paced: bool) -> None:
        if not container.streams.video:
            raise VideoError(NO_VIDEO)
        video = container.streams.video[0]
        video.thread_type = "SLICE"  # frame threads would delay the frames
        first: tuple[float, float] | None = None  # clock and frame time of the first frame
        damaged = 0
        for packet in container.demux(video):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                frames = []
                damaged += 1
            for frame in frames:
                if self._stopped.is_set() or self._stream.ended is not None:
                    return
                if frame.is_corrupt:
                    damaged += 1
                    continue
                damaged = 0
                if is_paced and frame.time is not None:
                    now = time.monotonic()
                    first = first or (now, frame.time)
                    early = (frame.time - first[1]) - (now - first[0])
                    if early > READ_AHEAD_SECONDS:
                        self._stopped.wait(min(early - READ_AHEAD_SECONDS, READ_SECONDS))
                self._stream.add_frame(frame)
            if damaged > MAX_DAMAGED:
                raise VideoError("The video at that address is damaged. Check it in a player.")


class _HttpSource:
    """An HTTP response body that FFmpeg reads. Redirects are not followed, because their target was not checked."""

    def __init__(self, address: Address):
        self._address = address
        self._connection = Connection(address)
        self._response: http.client.HTTPResponse | None = None
        self.is_mjpeg = False

    def __enter__(self) -> "_HttpSource":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def close(self) -> None:
        """End the connection. Any thread can call this, more than once."""
        self._connection.end()

    def open(self) -> None:
        """Send the request and read the response's header. Raise AddressError unless it is 200."""
        address = self._address
        headers = {"Host": _host_header(address), "User-Agent": "defacer-live", "Accept": "*/*"}
        if address.credentials is not None:
            pair = ":".join(address.credentials).encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        client = http.client.HTTPConnection(address.host, address.port)
        client.sock = self._connection.open()
        try:
            client.request("GET", address.target, headers=headers)
            self._response = client.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise AddressError(NO_VIDEO) from error
        status = self._response.status
        if status != http.client.OK:
            is_redirect = 300 <= status < 400
            action = "It redirects elsewhere: enter that address." if is_redirect else "Check the address."
            raise AddressError(f"The camera's server answered {status}, expected 200. {action}")
        kind = (self._response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        self.is_mjpeg = kind == MULTIPART

    def read(self, max_bytes: int) -> bytes:
        """Return the available bytes, at most `max_bytes`; b"" at the end."""
        try:
            return self._response.read1(max_bytes) if self._response is not None else b""
        except (OSError, ValueError, http.client.HTTPException):
            return b""


def _host_header(address: Address) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


@contextmanager
def open_container(source: "_HttpSource | RtspRelay", address: Address) -> Iterator[InputContainer]:
    """Open the source with FFmpeg, limited to the protocols and formats that this source needs."""
    if isinstance(source, RtspRelay):
        options = {
            **OPTIONS,
            "protocol_whitelist": "tcp",
            "format_whitelist": "rtsp",
            "rtsp_transport": "tcp",
        }
        options["timeout"] = str(int(READ_SECONDS * 1_000_000))
        user = (
            ":".join(quote(part, safe="") for part in address.credentials) + "@"
            if address.credentials
            else ""
        )
        container: InputContainer = av.open(
            f"rtsp://{user}127.0.0.1:{source.port}{address.target}",
            mode="r",
            options=options,
            timeout=3 * READ_SECONDS,
        )
    else:
        formats = ",".join((*DEMUXERS, "mpjpeg"))
        options = {**OPTIONS, "protocol_whitelist": "none", "format_whitelist": formats}
        container = av.open(source, mode="r", options=options, format="mpjpeg" if source.is_mjpeg else None)
    with container:
        yield container
