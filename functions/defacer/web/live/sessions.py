"""The streams of this process: begun, watched, and freed when nobody wants them any more."""

import asyncio
import contextlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from defacer.engine.engine import Engine
from defacer.pipeline import log
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.web.live.stream import Plan, Shown, Stream
from defacer.web.live.stream_reader import Reader
from defacer.web.live.url_policy import Address

# With what it takes to notice that a connection is lost (LOST_SECONDS), all is free 5 s after a client is gone.
SILENT_SECONDS = 4.0  # without a frame from a camera
UNWATCHED_SECONDS = 1.5  # without anybody who watches an address
# Until the first frame of a camera or an address has come, whatever that waits for; until the first one watches; and
# between an address's frames.
FIRST_SECONDS = 10.0
LOST_SECONDS = 3.0  # to send a frame; also what pings are given (see __main__.py)
LOOK_AGAIN_SECONDS = 0.25
TOLD_SECONDS = 20.0  # for so long after its end, why it ended can be asked
CLIENT_GONE = "The camera's page is gone."
NOBODY_WATCHES = "Nobody watches any more."
SILENT = "No picture comes any more."


@dataclass(eq=False)
class Session:
    """A stream and who may do what: whoever knows `id` may watch, whoever knows `key` may send frames and end it."""

    stream: Stream
    reader: Reader | None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    begun: float = field(default_factory=time.monotonic)
    watched: float = field(default_factory=time.monotonic)  # when somebody watched last
    has_camera: bool = False
    was_watched: bool = False
    freed: float | None = None  # when its threads had ended

    def is_owner(self, key: str) -> bool:
        return hmac.compare_digest(key.encode(), self.key.encode())

    def end(self, why: str) -> None:
        self.stream.end(why)
        if self.reader is not None:
            self.reader.stop()

    def is_over(self) -> bool:
        """Whether its threads have ended, after its end."""
        readers = self.reader is None or self.reader.join(0)
        return self.stream.ended is not None and self.stream.join(0) and readers

    def tend(self, now: float) -> None:
        """End it if nobody needs it."""
        if self.stream.watchers:
            self.watched, self.was_watched = now, True
        if self.stream.ended is not None:
            self.end(self.stream.ended)
        elif not self.stream.has_taken:
            if now - self.begun > FIRST_SECONDS:
                self.end(SILENT)
        elif now - self.stream.last_came > (SILENT_SECONDS if self.reader is None else FIRST_SECONDS):
            self.end(SILENT)
        elif self.reader is not None and now - self.watched > self._patience:
            self.end(NOBODY_WATCHES)

    @property
    def _patience(self) -> float:
        return UNWATCHED_SECONDS if self.was_watched else FIRST_SECONDS


class Streams:
    """All sessions. Used by the event loop's thread alone."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._sessions: dict[str, Session] = {}

    @property
    def running(self) -> int:
        return sum(session.freed is None for session in self._sessions.values())

    def require_room(self) -> None:
        """Raise PermanentError if there are as many as may be."""
        if self.running >= settings().live_streams:
            raise PermanentError(
                "too-many-streams", "As many streams run as this service can do. Try again later."
            )

    def begin(self, plan: Plan, address: Address | None) -> Session:
        """Start a stream. Raises PermanentError if there are as many as may be."""
        self.require_room()
        stream = Stream(self._engine, plan)
        session = Session(stream, Reader(address, stream) if address else None)
        self._sessions[session.id] = session
        stream.start()
        if session.reader is not None:
            session.reader.start()
        log.info("a stream began", streams=self.running)
        return session

    def find(self, name: str) -> Session | None:
        return self._sessions.get(name)

    @contextlib.asynccontextmanager
    async def tended(self) -> AsyncIterator[None]:
        """Tend them as long as the block runs; all have ended after it."""
        tending = asyncio.create_task(self._tend())
        try:
            yield
        finally:
            tending.cancel()
            for session in self._sessions.values():
                session.end("The service stops.")

    async def _tend(self) -> None:
        while True:
            now = time.monotonic()
            for session in list(self._sessions.values()):
                session.tend(now)
                if session.freed is None and session.is_over():
                    session.freed = now
                    log.info("a stream ended", streams=self.running)
                if session.freed is not None and now - session.freed > TOLD_SECONDS:
                    del self._sessions[session.id]
            await asyncio.sleep(LOOK_AGAIN_SECONDS)


class Viewer:
    """One who watches: gets the latest frame each time, and misses those for which it is too slow.

    A context manager; entering raises FullError if as many watch as may.
    """

    def __init__(self, stream: Stream):
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._latest: Shown | None = None
        self._came = asyncio.Event()

    def __enter__(self) -> "Viewer":
        self._leave = self._stream.watch(self._take, settings().live_viewers)
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    async def next(self, seconds: float) -> Shown | None:
        """The next frame; None if none comes in this time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), seconds)
        self._came.clear()
        shown, self._latest = self._latest, None
        return shown

    def _take(self, shown: Shown) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: everything ends
            self._loop.call_soon_threadsafe(self._put, shown)

    def _put(self, shown: Shown) -> None:
        self._latest = shown
        self._came.set()
