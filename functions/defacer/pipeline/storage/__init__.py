"""Cloud Storage: object names, conditional writes, ranged reads, and which errors are transient."""
