"""How knowledge of two devices becomes one: unions, registers, counters, reconciliation. Pure."""
