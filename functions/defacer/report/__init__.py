"""The report of a video: its records and their form as JSON Lines. Engine and pipeline both import it."""
