"""Stochastic-gradient samplers of a model's tempered posterior. Importing this package, `settings` or `registry` never loads torch.

settings        SamplerConfig: every knob, validated                     | torch-free
registry        sampling_method -> the file that implements it           | torch-free
sgld, rmsprop_sgld   one algorithm a file: `init` and `step` over a frozen state
noise, batches  randomness as pure functions of (seed, chain, step, block) and (seed, epoch)
parameters      trainable weights as one flat vector per chain
losses, language_model, problem   what is sampled: per-example losses of a module or of a function of parameters
chain, stacked, lanes, chains   one chain; several in a batch; the threads that step them; the run, its commands and reports
store           the Zarr tree that a run leaves behind
"""
