"""Shared by the console and the live page: security, rate limits, templates and serving. Imports neither of them."""
