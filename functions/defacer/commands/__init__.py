"""The `defacer` commands: request a re-render of a published video, erase a job or channel, and forget a person."""
