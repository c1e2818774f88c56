"""Send the end of a job to the channel's receiver, as a signed HTTP request."""
