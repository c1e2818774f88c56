"""A channel's owner's own pages: drop videos, say who stays visible and how the others are hidden, look at results."""
