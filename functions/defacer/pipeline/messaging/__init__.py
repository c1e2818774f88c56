"""Pub/Sub messages in and out, and the HTTP status that answers a delivery."""
