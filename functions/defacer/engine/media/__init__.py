"""Read, decode, encode and join media files with PyAV: video, sound, subtitles and still images."""
