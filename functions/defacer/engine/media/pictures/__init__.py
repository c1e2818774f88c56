"""Check and decode still pictures, which are hostile input."""
