"""Plan the job of an uploaded video or of a re-render request."""
