"""An llc of few rows on the embedded model, as text: [params] come last, so that a test adds its own, and further tables, behind them."""

LLC = """
kind = "llc"
name = "t"
[model]
source = "builtin:tiny"
device = "cpu"
[data.train]
source = "builtin:prose"
context = 16
rows = 32
[params]
lr = 1e-4
n_beta = 10.0
sampling_data = "train"
batch_size = 4
num_chains = 1
num_draws = 1
"""
