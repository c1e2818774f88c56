"""The review of a published job: its page, the JSON that the page reads, crops of faces, and requested changes."""
