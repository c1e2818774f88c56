"""Privacy for the owner of a channel: erase a job or a channel, forget a person."""
