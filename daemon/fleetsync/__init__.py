"""fleetsync: the silent daemon that makes a person's laptops agree."""

__version__ = "0.1.0"
