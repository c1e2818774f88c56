"""Faults on purpose: what Cloud Storage, Pub/Sub and Cloud Run do to a function now and then, in a few minutes."""
