"""De-faces while a camera runs: frames in, de-faced frames out, a moment later. README.md tells how."""
