"""A segment message: hide the faces of one time range and store the result."""
