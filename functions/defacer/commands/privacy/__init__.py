"""What the owner of a channel may ask for: erase a job or a channel, forget a person. Commands, not functions."""
