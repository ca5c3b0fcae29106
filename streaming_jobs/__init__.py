"""From the log to the store: every result is a pure function of the log (design/counting.md)."""
