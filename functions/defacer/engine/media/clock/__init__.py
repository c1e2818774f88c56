"""The times of a source: how they are corrected, and which packets are frames."""
