"""The commands of `defacer emulator`, one module for each."""
