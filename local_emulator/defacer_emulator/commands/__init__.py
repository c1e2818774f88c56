"""The commands of `python -m defacer_emulator`, one module for each."""
