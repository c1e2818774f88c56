"""The command `defacer`, one module for each command."""
