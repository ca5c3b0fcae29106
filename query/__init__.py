"""The query stage: the stack language over HTTP, charts, and the store as a source of series."""
