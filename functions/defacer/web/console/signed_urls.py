"""Addresses in Cloud Storage that a browser uses by itself: to read a picture or video for a while, to send a video."""

import unicodedata
from datetime import timedelta
from functools import cache
from urllib.parse import quote, urlsplit

import google.auth
import google.auth.transport.requests
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import Credentials
from google.auth.crypt import RSASigner
from google.oauth2 import service_account

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import objects
from defacer.pipeline.storage.transient_errors import transient_errors_as_retryable

READ_FOR = timedelta(minutes=15)
UNSAFE = frozenset('\\/:*?"<>|')  # in file names on Windows


def endpoint() -> str:
    """Where Cloud Storage is, without a slash at the end."""
    return str(objects.client().api_endpoint).rstrip("/")


def places() -> tuple[str, ...]:
    """What pages may reach in Cloud Storage: the two buckets' objects, and uploads to the intake."""
    known = settings()
    parts = urlsplit(endpoint())
    origin = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{origin}/{known.intake_bucket}/",
        f"{origin}/{known.output_bucket}/",
        f"{origin}/upload/storage/v1/b/{known.intake_bucket}/o",
        f"{origin}/resumable/upload/storage/v1/b/{known.intake_bucket}/o",
    )


def readable(
    ref: ObjectRef, file_name: str | None = None, kind: str | None = None, *, save: bool = False
) -> str:
    """An address at which anybody can read this version of an object, for a quarter of an hour.

    `kind` overrides the content type that the object was uploaded with. `file_name` is the name
    under which a browser saves it: at once if `save` is set, else when its user asks for that.
    """
    blob = objects.client().bucket(ref.bucket).blob(ref.name)
    with transient_errors_as_retryable("signing an address"):
        return str(
            blob.generate_signed_url(
                version="v4",
                expiration=READ_FOR,
                generation=ref.generation,
                response_disposition=file_name and content_disposition(file_name, save=save),
                response_type=kind,
                api_access_endpoint=endpoint(),
                **_signing(),
            )
        )


def content_disposition(file_name: str, *, save: bool) -> str:
    """Return a Content-Disposition header (RFC 6266) that names a file in any script.

    `filename*` carries the name in UTF-8, and `filename` an ASCII form for programs that ignore the former.
    Characters that a file system refuses, or that hide part of a name, become underscores.
    """
    name = "".join(
        "_" if c in UNSAFE or unicodedata.category(c).startswith("C") else c
        for c in unicodedata.normalize("NFC", file_name)
    )
    ascii_name = "".join(c if c.isascii() else "_" for c in name)
    kind = "attachment" if save else "inline"
    return f"{kind}; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"


def upload_session(
    bucket: str, name: str, content_type: str, size: int, origin: str, generation: int | None
) -> str:
    """An address that takes the bytes of this new object, from pages of `origin` only. It holds for a week.

    The last byte is answered with 412 if another version than `generation` is there by then (0: any; None: whatever).
    """
    blob = objects.client().bucket(bucket).blob(name)
    with transient_errors_as_retryable("starting an upload"):
        return str(
            blob.create_resumable_upload_session(
                content_type=content_type, size=size, origin=origin, if_generation_match=generation
            )
        )


def _signing() -> dict[str, object]:
    account = settings().console_signer
    if account is None:
        return {"credentials": _nobody()}
    credentials = _own()
    if not credentials.valid:
        credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
    return {"service_account_email": account, "access_token": credentials.token}


@cache
def _own() -> Credentials:
    """Who this service is on Google Cloud. It may sign as itself: no key lies around."""
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return credentials


@cache
def _nobody() -> service_account.Credentials:
    """An account that does not exist, with a key made up now: good for the emulator, worth nothing elsewhere."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signer = RSASigner(key)  # type: ignore[no-untyped-call]
    return service_account.Credentials(signer, "console@emulator.invalid", "")  # type: ignore[no-untyped-call]
