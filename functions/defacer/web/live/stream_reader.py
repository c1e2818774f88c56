"""Frames from an address, over a connection that was checked, into a stream."""

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
from defacer.engine.media.reader import DECODE, DEMUXERS
from defacer.pipeline import log
from defacer.web.live.connection import NO_VIDEO, READ_SECONDS, Connection
from defacer.web.live.rtsp_relay import Relay
from defacer.web.live.stream import Stream
from defacer.web.live.url_policy import Address, AddressError

MULTIPART = "multipart/x-mixed-replace"
# Of a file that comes faster than it is shown, so many seconds are read ahead.
AHEAD_SECONDS = 1.0
MAX_DAMAGED = 250  # frames in a row: ten seconds
OVER = "The address sends nothing any more."
OPTIONS = {**DECODE, "fflags": "nobuffer", "analyzeduration": "1000000", "probesize": "1000000"}


class Reader:
    """Reads in a thread of its own from `start` until `stop`, its stream's end, or its own."""

    def __init__(self, address: Address, stream: Stream):
        self._address = address
        self._stream = stream
        self._source = Relay(address) if address.scheme == "rtsp" else _Http(address)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-read", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the connection, however far it has come; the thread ends with it."""
        self._stopped.set()
        self._source.close()

    def join(self, seconds: float) -> bool:
        """Wait for the thread, so long at most. Whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        why = OVER
        try:
            with self._source as source:
                source.open()
                with source_opened(source, self._address) as container:
                    self._read(container, paced=isinstance(source, _Http) and not source.is_pictures)
        except (AddressError, EngineError) as error:
            why = str(error)
        except av.error.FFmpegError:
            why = OVER if self._stream.has_taken else NO_VIDEO
        except Exception as error:  # noqa: BLE001 - a thread's end must end the stream, whatever it is
            log.error("reading an address failed", error)
        finally:
            self._stream.end(why)

    def _read(self, container: InputContainer, paced: bool) -> None:
        if not container.streams.video:
            raise VideoError(NO_VIDEO)
        video = container.streams.video[0]
        video.thread_type = "SLICE"  # frames in several threads come later
        begun: tuple[float, float] | None = None
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
                if paced and frame.time is not None:
                    now = time.monotonic()
                    begun = begun or (now, frame.time)
                    early = (frame.time - begun[1]) - (now - begun[0])
                    if early > AHEAD_SECONDS:
                        self._stopped.wait(min(early - AHEAD_SECONDS, READ_SECONDS))
                self._stream.take(frame)
            if damaged > MAX_DAMAGED:
                raise VideoError("what comes from that address is damaged.")


class _Http:
    """A body that comes by HTTP, for FFmpeg to read. Redirects are not followed: they lead to what was not checked."""

    def __init__(self, address: Address):
        self._address = address
        self._line = Connection(address)
        self._answer: http.client.HTTPResponse | None = None
        self.is_pictures = False

    def __enter__(self) -> "_Http":
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def close(self) -> None:
        """Nothing comes any more. May be called by any thread, and more than once."""
        self._line.end()

    def open(self) -> None:
        """Ask for it. Raises AddressError."""
        address = self._address
        headers = {"Host": _host(address), "User-Agent": "defacer-live", "Accept": "*/*"}
        if address.credentials is not None:
            pair = ":".join(address.credentials).encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        connection = http.client.HTTPConnection(address.host, address.port)
        connection.sock = self._line.open()
        try:
            connection.request("GET", address.target, headers=headers)
            self._answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise AddressError(NO_VIDEO) from error
        status = self._answer.status
        if status != http.client.OK:
            led = " It leads elsewhere; give that address instead." if 300 <= status < 400 else ""
            raise AddressError(f"The server answers {status}.{led}")
        kind = (self._answer.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        self.is_pictures = kind == MULTIPART

    def read(self, most: int) -> bytes:
        """What has come, `most` bytes at most; nothing at the end."""
        try:
            return self._answer.read1(most) if self._answer is not None else b""
        except (OSError, ValueError, http.client.HTTPException):
            return b""


def _host(address: Address) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


@contextmanager
def source_opened(source: "_Http | Relay", address: Address) -> Iterator[InputContainer]:
    """FFmpeg at work on it. It may open nothing else: of protocols and of formats it has what this needs alone."""
    if isinstance(source, Relay):
        options = {
            **OPTIONS,
            "protocol_whitelist": "tcp",
            "format_whitelist": "rtsp",
            "rtsp_transport": "tcp",
        }
        options["timeout"] = str(int(READ_SECONDS * 1_000_000))
        who = (
            ":".join(quote(part, safe="") for part in address.credentials) + "@"
            if address.credentials
            else ""
        )
        container: InputContainer = av.open(
            f"rtsp://{who}127.0.0.1:{source.port}{address.target}",
            mode="r",
            options=options,
            timeout=3 * READ_SECONDS,
        )
    else:
        formats = ",".join((*DEMUXERS, "mpjpeg"))
        options = {**OPTIONS, "protocol_whitelist": "none", "format_whitelist": formats}
        container = av.open(
            source, mode="r", options=options, format="mpjpeg" if source.is_pictures else None
        )
    with container:
        yield container
