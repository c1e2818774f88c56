"""A job came to an end: tell a receiver outside, by a signed HTTP call."""
