"""Why a call is refused. Each error names the gRPC status that the caller gets (google.rpc.Code)."""

from typing import ClassVar


class RefusedError(Exception):
    """A call that Pub/Sub would refuse. The message names the resource, what was found and what is expected."""

    code: ClassVar[str]


class NotFoundError(RefusedError):
    """The topic or subscription does not exist."""

    code = "NOT_FOUND"


class AlreadyExistsError(RefusedError):
    """There is a topic or subscription of that name."""

    code = "ALREADY_EXISTS"


class InvalidArgumentError(RefusedError):
    """A value is malformed or outside its range."""

    code = "INVALID_ARGUMENT"


class FailedPreconditionError(RefusedError):
    """The call does not fit the resource, such as a pull from a push subscription."""

    code = "FAILED_PRECONDITION"


class UnsupportedError(RefusedError):
    """Pub/Sub has it, this emulator does not. Refused, because ignoring it would give another behaviour."""

    code = "UNIMPLEMENTED"
