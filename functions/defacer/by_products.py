"""Recognize the files that systems, cameras and browsers leave beside videos and pictures. Standard library only."""

# Of Finder, Windows Explorer, and programs that keep empty folders. Names are compared in lower case.
SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".keep", ".gitkeep"})
MAC_METADATA = "._"  # the beginning of a file that a Mac adds to each file on some drives
FOLDER_PLACEHOLDER = "_$folder$"  # the end of an empty object that Hadoop's tools write for a folder
# Subtitles, the small copies and pictures of action cameras, and downloads that are not complete.
BESIDE_VIDEOS = (".srt", ".lrv", ".thm", ".part", ".crdownload")


def is_by_product(path: str) -> bool:
    """Return whether this file is a by-product in any folder. A name that ends in a slash stands for a folder."""
    name = path.rpartition("/")[2]
    return (
        not name
        or name.lower() in SYSTEM_FILES
        or name.startswith(MAC_METADATA)
        or name.endswith(FOLDER_PLACEHOLDER)
    )


def is_beside_videos(path: str) -> bool:
    """Return whether this file is a by-product in a folder of videos."""
    return is_by_product(path) or path.lower().endswith(BESIDE_VIDEOS)
