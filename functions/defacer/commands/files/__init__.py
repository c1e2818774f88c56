"""The commands for files on this machine: `run`, `render` and `tracks`."""
