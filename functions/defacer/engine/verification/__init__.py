"""The release gate: detect faces in the redacted result with another detector, and mask faces that were missed."""
