"""Exchanges, live push and the schedule: how this device and its peers stay equal."""
