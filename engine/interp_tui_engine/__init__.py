"""The engine: sampling, analyses and the run contract."""
