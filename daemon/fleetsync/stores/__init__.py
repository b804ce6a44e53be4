"""Stores behind ports: the in-memory reference of storage."""
