"""Engines of which a test replaces some operations."""

from typing import Any, TypeVar

from defacer.pipeline.media_engine import MediaEngine

Engine = TypeVar("Engine", bound=MediaEngine)


def with_operations(engine: Engine, **operations: Any) -> Engine:
    """Replace operations of this engine by functions with the same parameters, and return the engine."""
    for name, operation in operations.items():
        assert hasattr(MediaEngine, name), f"MediaEngine has no operation {name}"
        setattr(engine, name, operation)
    return engine
