"""The function that handles dead letters: it requeues a message, and fails its job when the requeues are used up."""
