"""The command line `defacer`."""
