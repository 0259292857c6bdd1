"""Other servers of CLIP beside ours: see README.md in this folder."""
