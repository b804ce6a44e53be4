"""Attacks told from beginning to end: by strangers, by paired devices, by other users of the machine."""
