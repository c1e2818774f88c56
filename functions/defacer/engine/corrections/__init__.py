"""Search a time span again for a person who corrects a report: follow a drawn box, and find missed faces."""
