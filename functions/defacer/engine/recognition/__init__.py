"""Decide which tracks show a target: target galleries, match thresholds, person groups and decisions."""
