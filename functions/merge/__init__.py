"""A segment is done: when it was the last one, join, check and publish."""
