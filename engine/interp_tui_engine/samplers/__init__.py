"""Stochastic-gradient samplers of a model's tempered posterior. Importing this package, `settings` or `registry` never loads torch.

settings        SamplerConfig: every knob, validated                     | torch-free
registry        sampling_method -> the file that implements it           | torch-free
sgld, rmsprop_sgld, sgnht   one algorithm a file: `init` and `step` over a frozen state
noise, batches  randomness as pure functions of (seed, chain, step, block) and (seed, epoch)
metrics, mala   what tells of a step: norms of its parts, whether Metropolis and Hastings would have accepted it
target/         what is sampled: parameters as one flat vector a chain, and per-example losses of a model, a part of it, or any function
fused/          noise, update, box and norms in one kernel, on GPUs
chains/         how chains run: one chain; several in a batch; the threads that step them; checkpoints; the Zarr store that a run leaves
certification/  problems with known answers, and holding the samplers to them
"""
