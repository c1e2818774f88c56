"""The streams of this process: start and watch them, and free those that are no longer used."""

import asyncio
import contextlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from defacer.pipeline import log
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.web.live.stream import RenderedFrame, Stream, StreamPlan
from defacer.web.live.stream_reader import StreamReader
from defacer.web.live.url_policy import Address

# All resources are free 5 s after a client is lost: one of these times, and SEND_TIMEOUT_SECONDS to detect the loss.
CAMERA_TIMEOUT_SECONDS = 4.0  # without a frame from a camera's page
UNWATCHED_TIMEOUT_SECONDS = 1.5  # without a viewer of an address
# Until the first frame, until the first viewer of an address, and between the frames of an address.
STARTUP_TIMEOUT_SECONDS = 10.0
SEND_TIMEOUT_SECONDS = 3.0  # to send a frame, and for the answer to a ping (`__main__.py`)
REAP_INTERVAL_SECONDS = 0.25
STOP_SECONDS = 5.0  # for the threads of a stream to end when the service stops
RETENTION_SECONDS = 20.0  # an ended session is kept this long, so that its pages can ask why it ended
CAMERA_GONE = "The camera's page was closed."
NO_VIEWERS = "The stream ended because it had no viewers."
NO_FRAMES = "The stream ended because no frames arrived."


@dataclass(eq=False)
class Session:
    """A stream and its access rights: `id` allows to watch it, `key` allows to send frames and to end it."""

    stream: Stream
    reader: StreamReader | None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    started: float = field(default_factory=time.monotonic)
    last_watched: float = field(default_factory=time.monotonic)
    has_camera: bool = False
    was_watched: bool = False
    stopped: float | None = None  # when its threads had ended

    def is_owner(self, key: str) -> bool:
        """Return whether `key` is this session's key."""
        return hmac.compare_digest(key.encode(), self.key.encode())

    def end(self, reason: str) -> None:
        """End the stream and its reader."""
        self.stream.end(reason)
        if self.reader is not None:
            self.reader.stop()

    def has_stopped(self) -> bool:
        """Return whether the stream ended and its threads have stopped."""
        has_reader_stopped = self.reader is None or self.reader.join(0)
        return self.stream.ended is not None and self.stream.join(0) and has_reader_stopped

    def end_if_idle(self, now: float) -> None:
        """End the stream if no frames arrive or if it has no viewers."""
        if self.stream.viewer_count:
            self.last_watched, self.was_watched = now, True
        if self.stream.ended is not None:
            self.end(self.stream.ended)
        elif not self.stream.has_frames:
            if now - self.started > STARTUP_TIMEOUT_SECONDS:
                self.end(NO_FRAMES)
        elif now - self.stream.last_received > self._frame_timeout:
            self.end(NO_FRAMES)
        elif self.reader is not None and now - self.last_watched > self._viewer_timeout:
            self.end(NO_VIEWERS)

    @property
    def _frame_timeout(self) -> float:
        return CAMERA_TIMEOUT_SECONDS if self.reader is None else STARTUP_TIMEOUT_SECONDS

    @property
    def _viewer_timeout(self) -> float:
        return UNWATCHED_TIMEOUT_SECONDS if self.was_watched else STARTUP_TIMEOUT_SECONDS


class SessionRegistry:
    """All sessions of this process. Only the event loop's thread uses it."""

    def __init__(self, create_stream: Callable[[StreamPlan], Stream]):
        self._create_stream = create_stream
        self._sessions: dict[str, Session] = {}

    @property
    def running_count(self) -> int:
        """The number of sessions whose threads still run."""
        return sum(session.stopped is None for session in self._sessions.values())

    def require_capacity(self) -> None:
        """Raise PermanentError if the largest number of streams runs already."""
        most = settings().live_streams
        if self.running_count >= most:
            raise PermanentError(
                ErrorCode.TOO_MANY_STREAMS,
                f"{self.running_count} streams run already, at most {most} are allowed. Try again later.",
            )

    def start(self, plan: StreamPlan, address: Address | None) -> Session:
        """Start a stream. Raise PermanentError if the largest number of streams runs already."""
        self.require_capacity()
        stream = self._create_stream(plan)
        session = Session(stream, StreamReader(address, stream) if address else None)
        self._sessions[session.id] = session
        stream.start()
        if session.reader is not None:
            session.reader.start()
        log.info("a stream started", streams=self.running_count)
        return session

    def find(self, session_id: str) -> Session | None:
        """Return the session with this id, or None."""
        return self._sessions.get(session_id)

    @contextlib.asynccontextmanager
    async def run_reaper(self) -> AsyncIterator[None]:
        """End idle sessions while the block runs, and all sessions after it."""
        reaper = asyncio.create_task(self._reap_idle())
        try:
            yield
        finally:
            reaper.cancel()
            sessions = list(self._sessions.values())
            for session in sessions:
                session.end("The service is stopping. Start again in a minute.")
            # A thread that still runs native code when the interpreter ends aborts the process.
            for session in sessions:
                await asyncio.to_thread(session.stream.join, STOP_SECONDS)

    async def _reap_idle(self) -> None:
        while True:
            now = time.monotonic()
            for session in list(self._sessions.values()):
                session.end_if_idle(now)
                if session.stopped is None and session.has_stopped():
                    session.stopped = now
                    log.info("a stream ended", streams=self.running_count)
                    if session.stream.failure is not None:
                        log.error("a stream failed, so its picture was black", session.stream.failure)
                if session.stopped is not None and now - session.stopped > RETENTION_SECONDS:
                    del self._sessions[session.id]
            await asyncio.sleep(REAP_INTERVAL_SECONDS)


class Viewer:
    """A viewer of a stream. It gets the latest frame each time and misses frames if it is too slow.

    A context manager. Entering raises TooManyViewersError if the stream has the largest number of viewers.
    """

    def __init__(self, stream: Stream):
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._latest: RenderedFrame | None = None
        self._arrived = asyncio.Event()

    def __enter__(self) -> "Viewer":
        self._leave = self._stream.add_viewer(self._receive, settings().live_viewers)
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    async def next_frame(self, timeout_seconds: float) -> RenderedFrame | None:
        """Return the next frame, or None if none arrives in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), timeout_seconds)
        self._arrived.clear()
        frame, self._latest = self._latest, None
        return frame

    def _receive(self, frame: RenderedFrame) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed because the service stops
            self._loop.call_soon_threadsafe(self._store, frame)

    def _store(self, frame: RenderedFrame) -> None:
        self._latest = frame
        self._arrived.set()
