"""This device and the others: identity, pairing, trust (DESIGN §7)."""
