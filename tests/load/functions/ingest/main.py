"""The real function, unchanged."""

from defacer.ingest.main import ingest

__all__ = ["ingest"]
