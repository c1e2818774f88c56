"""Start, watch and stop the processes of an emulator, and find its ports, logs and state."""
