"""The console: pages for a channel's owner to upload videos, name targets, set the policy and review results."""
