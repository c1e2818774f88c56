"""The real function."""

from functions.dead_letter.main import dead_letter

__all__ = ["dead_letter"]
