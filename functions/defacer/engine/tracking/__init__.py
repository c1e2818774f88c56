"""Turn frames into tracks: sampling, shot cuts, detections of a segment, linking and the face report."""
