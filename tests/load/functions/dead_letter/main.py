"""The real function, unchanged."""

from defacer.dead_letter.main import dead_letter

__all__ = ["dead_letter"]
