"""De-facer: the functions of the pipeline, and the engine and the plumbing that they share."""
