"""Numbers computed from samples: `llc`, `diagnostics`, and the exact answers they are held to in `learning_coefficients`. Torch-free."""
