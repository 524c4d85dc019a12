"""What is sampled: parameters and per-example losses, of a whole model, of a restricted one, or of any function."""
