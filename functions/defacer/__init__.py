"""De-facer hides every face in a video except the faces of named people. Importing it loads no module."""
