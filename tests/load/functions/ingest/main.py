"""The real function."""

from functions.ingest.main import ingest

__all__ = ["ingest"]
