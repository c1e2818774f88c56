"""Read and write the boxes of MP4 and MOV files (ISO/IEC 14496-12) that FFmpeg does not expose."""
