"""Copy or convert the sound tracks of a source."""
