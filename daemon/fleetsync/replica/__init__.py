"""This device's copy of the set: `~/.mur` on disk, its index and its journal."""
