"""Detect the faces of one segment, or redact them, and store the output."""
