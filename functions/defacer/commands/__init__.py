"""Render a published video again with other decisions: a command, for where there is no console."""
