"""Noise, update, box and norms of a sampling step in one pass over memory, for GPUs."""
