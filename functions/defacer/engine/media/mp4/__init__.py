"""Read and write the boxes of MP4 and MOV files (ISO/IEC 14496-12) where FFmpeg does not."""
