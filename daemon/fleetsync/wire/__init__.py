"""Talking to other devices: messages, their encoding, and HTTPS between paired devices."""
