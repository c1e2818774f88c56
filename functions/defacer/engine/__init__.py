"""Faces and pixels: a library that knows no cloud and no event."""
