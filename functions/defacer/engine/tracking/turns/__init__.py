"""Detect faces that are sideways or upside down in the displayed picture, such as those below a ceiling camera."""
