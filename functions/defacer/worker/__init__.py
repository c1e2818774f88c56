"""A segment message: find the faces of one time range, or hide them, and store what came of it."""
