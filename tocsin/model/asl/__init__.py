"""The Atlas stack language: programs to expressions, expressions to lines. Pure: data comes through `SeriesSource`."""
