"""Describe who a target is: target pictures and their galleries, match thresholds, and the check of one person."""
