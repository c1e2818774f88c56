"""Turn frames into tracks, and decide which of them show a target: sampling, cuts, linking, identity, face report."""
