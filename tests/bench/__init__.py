"""Timings: this engine beside devinterp 2.0.1, and beside its own targets.

    python -m tests.bench [NAME…] [--quick] [--json FILE] [--record]      # or: make bench

tiny, gelu, smollm2   sampling tokens/s and peak memory, ours against devinterp      (sampling)
modes                 our executor modes against each other                          (modes)
update                noise and update alone, against plain normal_ + foreach        (update)
light                 start-up, opening a long run, event-loop lag                   (light)
agreement             LLC equal to devinterp's within the combined standard error    (agreement)
influence, susceptibilities   token BIF; all heads of builtin:tiny, ours against devinterp     (posterior)
patching, caching, backends   one forward pass of SmolLM2-135M, ours against nnsight and TransformerLens     (passes)

devinterp lives in an environment of its own, .bench/devinterp, made on first use, and so does each other peer; none is imported here.
"""
