"""Decide which channels a user can open: a channel's owners open it, and administrators open all channels.

Identity-Aware Proxy verifies the user, and Terraform writes the owners into the settings. The emulator has no proxy,
and opens all channels.
"""

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from defacer.pipeline.channel import list_channels
from defacer.pipeline.settings import SettingsError, emulator_hosts, settings
from defacer.web.common.security import find_user

# One message for both cases, so that a user does not learn the names of other channels.
NO_ACCESS = (
    "This channel does not exist, or it is not yours. Choose another one. To get access, ask the operator to add "
    "you to the owners of the channel."
)


def require_identity() -> None:
    """Raise SettingsError if the users of this service are unknown and it is not beside the emulator."""
    if settings().iap_audience is None and "STORAGE_EMULATOR_HOST" not in emulator_hosts():
        raise SettingsError(
            "DEFACER_IAP_AUDIENCE is not set, expected the audience of Identity-Aware Proxy. Without it, each caller "
            "could open each channel. Deploy this service with Terraform, or run it in the emulator."
        )


def is_unlimited(connection: HTTPConnection) -> bool:
    """Return whether this request can open all channels, also those that do not exist yet."""
    if settings().iap_audience is None:  # beside the emulator: see `require_identity`
        return True
    user = find_user(connection)
    return user is not None and bool(user.members & settings().administrators)


def can_open(connection: HTTPConnection, channel: str) -> bool:
    """Return whether this request can open the channel."""
    user, owners = find_user(connection), settings().channel_owners.get(channel, frozenset())
    return is_unlimited(connection) or (user is not None and bool(user.members & owners))


def require_access(connection: HTTPConnection, channel: str) -> None:
    """Raise 403 unless this request can open the channel."""
    if not can_open(connection, channel):
        raise HTTPException(403, NO_ACCESS)


def list_open_channels(connection: HTTPConnection) -> list[str]:
    """Return the channels that this request can open: those with objects, and those with owners in the settings."""
    stored = list_channels(settings().intake_bucket)
    return sorted(name for name in {*stored, *settings().channel_owners} if can_open(connection, name))


class ChannelAccessMiddleware:
    """ASGI middleware for all routes below `/channels/{channel}`: refuse users who can't open the channel."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        require_access(HTTPConnection(scope), scope["path_params"]["channel"])
        await self._app(scope, receive, send)
