"""Read the jobs of a pipeline, wait for their end, and describe them."""
