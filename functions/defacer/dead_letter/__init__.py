"""A message gave up: its job fails, loudly, and publishes nothing."""
