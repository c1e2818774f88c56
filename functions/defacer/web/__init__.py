"""The services that people open in a browser: the console and the live page, and what both share."""
