"""Fault injection: proxies that do within minutes what Cloud Storage, Pub/Sub and Cloud Run rarely do to a function."""
