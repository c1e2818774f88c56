"""The states of a job and the transitions between them: leases, verdict, publishing, failure and cleanup."""
