"""Errors of rejected calls. Each has the gRPC status that the caller receives (google.rpc.Code)."""

from typing import ClassVar


class RefusedError(Exception):
    """A call that Pub/Sub would reject. The message names the resource, the value and the expected value."""

    code: ClassVar[str]


class NotFoundError(RefusedError):
    """The topic or subscription does not exist."""

    code = "NOT_FOUND"


class AlreadyExistsError(RefusedError):
    """A topic or subscription with this name already exists."""

    code = "ALREADY_EXISTS"


class InvalidArgumentError(RefusedError):
    """A value is malformed or outside its range."""

    code = "INVALID_ARGUMENT"


class FailedPreconditionError(RefusedError):
    """The resource does not support the call, such as a pull from a push subscription."""

    code = "FAILED_PRECONDITION"


class UnsupportedError(RefusedError):
    """Pub/Sub has this feature, but this emulator does not. Ignoring it would change the behavior."""

    code = "UNIMPLEMENTED"
