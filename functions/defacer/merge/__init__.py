"""After the last segment of a step, link the faces of all segments, or join and publish the video."""
