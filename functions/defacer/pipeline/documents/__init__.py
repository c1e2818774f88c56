"""The versioned documents and messages that pass between functions, as pydantic models."""
