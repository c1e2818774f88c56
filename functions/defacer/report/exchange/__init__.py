"""Tracks in the files of annotation tools: MOT, CVAT and COCO."""
