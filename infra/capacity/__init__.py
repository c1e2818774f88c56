"""A model of De-facer's cost and a simulation of its capacity, which write infra/CAPACITY.md (`make capacity`)."""
