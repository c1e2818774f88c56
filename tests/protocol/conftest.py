"""The jobs that tests of the functions begin with."""

from tests.functions.conftest import clip, linked, planned

__all__ = ["clip", "linked", "planned"]
