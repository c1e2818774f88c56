"""The real function."""

from defacer.ingest.main import ingest

__all__ = ["ingest"]
