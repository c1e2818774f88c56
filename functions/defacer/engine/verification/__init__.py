"""The release gate: detect faces in the redacted result with another detector, and mask what was missed."""
