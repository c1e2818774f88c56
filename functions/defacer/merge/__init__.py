"""A step of a segment is done: after the last one, link the faces across segments, or join and publish."""
