"""Turn tracks and decisions into redacted frames: mask schedules, redaction styles and segment files."""
