"""Sign the URLs that let a browser read pictures and videos from Cloud Storage, and start sessions for uploads."""

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

READ_DURATION = timedelta(minutes=15)
UNSAFE = frozenset('\\/:*?"<>|')  # in file names on Windows


def get_storage_endpoint() -> str:
    """Return the URL of Cloud Storage, without a slash at the end."""
    return str(objects.client().api_endpoint).rstrip("/")


def list_storage_sources() -> tuple[str, ...]:
    """Return the storage URLs that pages can reach: the objects of two buckets, and uploads to the intake bucket."""
    config = settings()
    parts = urlsplit(get_storage_endpoint())
    origin = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{origin}/{config.intake_bucket}/",
        f"{origin}/{config.output_bucket}/",
        f"{origin}/upload/storage/v1/b/{config.intake_bucket}/o",
        f"{origin}/resumable/upload/storage/v1/b/{config.intake_bucket}/o",
    )


def sign_read_url(
    ref: ObjectRef, file_name: str | None = None, content_type: str | None = None, *, save: bool = False
) -> str:
    """Return a URL that reads this version of the object for READ_DURATION, without any other right.

    `content_type` overrides the type that the object was uploaded with. `file_name` is the name under which a browser
    saves the object: at once if `save` is set, else on request.
    """
    blob = objects.client().bucket(ref.bucket).blob(ref.name)
    with transient_errors_as_retryable("signing a URL"):
        return str(
            blob.generate_signed_url(
                version="v4",
                expiration=READ_DURATION,
                generation=ref.generation,
                response_disposition=file_name and content_disposition(file_name, save=save),
                response_type=content_type,
                api_access_endpoint=get_storage_endpoint(),
                **_signing_options(),
            )
        )


def content_disposition(file_name: str, *, save: bool) -> str:
    """Return a Content-Disposition header (RFC 6266) for a file name in any script.

    `filename*` has the name in UTF-8. `filename` has an ASCII form for programs that ignore the former. Characters that
    a file system refuses, or that hide part of a name, become underscores.
    """
    name = "".join(
        "_" if c in UNSAFE or unicodedata.category(c).startswith("C") else c
        for c in unicodedata.normalize("NFC", file_name)
    )
    ascii_name = "".join(c if c.isascii() else "_" for c in name)
    kind = "attachment" if save else "inline"
    return f"{kind}; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"


def start_upload_session(
    bucket: str, name: str, content_type: str, size: int, origin: str, generation: int | None
) -> str:
    """Return a URL that accepts this object's bytes for a week, only from pages of `origin`.

    Cloud Storage refuses the last byte with 412 if the object then has another generation than `generation`. 0 means
    that the object must not exist, and None allows any generation.
    """
    blob = objects.client().bucket(bucket).blob(name)
    with transient_errors_as_retryable("starting an upload"):
        return str(
            blob.create_resumable_upload_session(
                content_type=content_type, size=size, origin=origin, if_generation_match=generation
            )
        )


def _signing_options() -> dict[str, object]:
    account = settings().console_signer
    if account is None:
        return {"credentials": _create_emulator_credentials()}
    credentials = _load_service_credentials()
    if not credentials.valid:
        credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
    return {"service_account_email": account, "access_token": credentials.token}


@cache
def _load_service_credentials() -> Credentials:
    """Return this service's own credentials. It signs through the IAM API, so no private key is stored."""
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return credentials


@cache
def _create_emulator_credentials() -> service_account.Credentials:
    """Return an invented account with a new key. The emulator accepts it, and Google Cloud refuses it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signer = RSASigner(key)  # type: ignore[no-untyped-call]
    return service_account.Credentials(signer, "console@emulator.invalid", "")  # type: ignore[no-untyped-call]
