"""What De-facer costs and how much it takes: reckoned and simulated. `python -m infra.capacity --help`."""
