"""Read the structure of H.264 streams, and copy groups of pictures without encoding them (ITU-T H.264)."""
