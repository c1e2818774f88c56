"""The fixtures of the functions' tests, for the tests of this folder."""

from tests.functions.conftest import clip, linked, planned

__all__ = ["clip", "linked", "planned"]
