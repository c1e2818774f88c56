"""The live page: redacts faces while a camera runs, with a delay below a second. README.md describes the protocol."""
