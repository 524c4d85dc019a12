"""devinterp 2.0.1's rows: a script of its changes one import, and where a number is to be devinterp's own, one keyword."""

from __future__ import annotations

from .rows import Peer, Row

CUSTOM, STANDALONE = "integration/test_custom_model.py", "integration/test_standalone.py"
CACHING, SINGLE = "integration/test_caching.py", "optim/test_sampler_metrics.py"
STRUCTURES = "slt/test_model_structures.py"
LLC_ATOL = 2e-5
"""λ̂ is nβ = 20 times a difference of losses of 3.7 nats in float32: 20 · 3.7 · 1.2e-7, and sums of them."""

ROWS = (
    Row("sample", "`sample(model, dataset, observables, lr=, n_beta=, …)`", "the same", "same",
        "losses without noise; names, dimensions and order of the store's arrays", tests=(f"{STANDALONE}::test_standalone_sample",)),
    Row("sample_accumulated", "`gradient_accumulation_steps`, `num_steps_bw_draws`, `llc_weight_decay`", "the same", "same",
        "losses at every step and draw"),
    Row("sample_box", "`bounding_box_size`", "the same", "same", "losses with weights held at the wall"),
    Row("sample_rmsprop", "`sampling_method=\"rmsprop_sgld\"`, `rmsprop_eps`, `rmsprop_alpha`", "the same", "same", "losses"),
    Row("sample_kwargs", "`sampling_method_kwargs={\"eps\": …, \"alpha\": …}`", "the same", "same", "losses",
        tests=(f"{CUSTOM}::test_rmsprop_eps_alpha_equivalent_to_kwargs",)),
    Row("metrics", "`save_metrics=True`", "the same", "same", "norms and dot products of the parts of each step, `metrics_numel`",
        rtol=1e-4, tests=(f"{SINGLE} (31)",)),
    Row("input_ids", "`samples[\"sampling_input_ids_micro\"]`", "the same; `open_samples(path, dataset)` for a store on disk", "same",
        "token ids of every step; kept as row numbers, looked up when read"),
    Row("input_ids_of_other_chains", "… with `match_sampling_input_ids_across_chains=False`", "the same", "same", "ids of chain 1"),
    Row("noise", "`noise_level=1`", "the same", "differs",
        "other random numbers of the same law: keyed by seed, chain and step, so that a run can be resumed; only distributions agree"),
    Row("dropout", "a model with dropout", "the same", "differs", "sampled in eval mode; devinterp's train mode adds dropout to the loss"),
    Row("failed_chains", "all chains go non-finite", "the same", "differs",
        "a RunFailed (RuntimeError) that names the step; devinterp warns and marks the store complete"),
    Row("bare_module", "a module of one's own that returns logits", "the same", "same", "losses",
        tests=(f"{CUSTOM}::test_sample", f"{CUSTOM}::test_bif", f"{CUSTOM}::test_llc", f"{CUSTOM}::test_susceptibilities")),
    Row("bare_masks", "`param_masks={name: mask or None}`", "the same", "same", "losses; masks of 0 and 1 in any dtype"),
    Row("doubled_loss", "`loss_fn=(model, ids) -> (b, t)`", "the same", "same", "losses"),
    Row("scaled_llc", "… twice the loss at half the temperature", "the same", "same", "λ̂ is the same, to rounding (devinterp: bit for bit)",
        atol=LLC_ATOL, tests=(f"{CUSTOM}::test_llc_scaling_invariance",)),
    Row("llc", "`llc(…)`, `compute_llc(samples)`", "`llc(…, baseline=\"init\", include_burnin=True)`", "same",
        "λ̂ by chain, pooled and its std, the loss trace", atol=LLC_ATOL, tests=(f"{STANDALONE}::test_standalone_llc",)),
    Row("llc_default", "`llc(…)`", "`llc(…)`", "differs",
        "each step is compared with its own rows at w₀, and burn-in stays out: devinterp's λ̂ holds the difference between batches"),
    Row("llc_still", "`lr=0`", "the same", "same", "λ̂ of chains that do not move", atol=LLC_ATOL),
    Row("single_chain", "`sample_single_chain(…, evaluate, param_masks, callbacks=)`", "the same; `optimizer` is None", "same",
        "the loss at every draw; eval mode, no torch optimizer"),
    Row("bif_tokens", "`bif(…, correlation_method=\"token\")`", "the same", "same", "covariances of token pairs", rtol=1e-3, atol=1e-4,
        tests=(f"{STANDALONE}::test_standalone_bif",)),
    Row("bif_sequences", "`bif(…, correlation_method=\"sequence\")`", "the same", "same",
        "correlations; without noise they divide by spreads of 1e-3 nats", rtol=1e-3, atol=2e-3),
    Row("susceptibilities", "`susceptibilities(…, weight_restrictions=)`", "`susceptibilities(…, baseline_loss=\"init\")`", "same",
        "χ of a head, a group, an MLP and the embedding", rtol=1e-3, atol=1e-3,
        tests=(f"{STANDALONE}::test_standalone_susceptibilities",)),
    Row("susceptibilities_default", "`susceptibilities(…)`", "`susceptibilities(…)`", "differs",
        "L(w₀) is taken on the rows that φ is taken on"),
    Row("masks", "`create_param_masks(model, \"l0h1\" …)`", "the same", "same",
        "elements selected; 93 model types × 14 restrictions beside it, the peer's faults listed",
        tests=(f"{STRUCTURES}::test_listed_params_exist (93)", f"{STRUCTURES}::test_dead_head_gradient (93)")),
    Row("head", "`\"l0h1\"` under grouped queries", "`\"l0h1\"`; `\"l0h1 own\"` for queries and outputs only", "same",
        "elements, shared keys and values among them"),
    Row("embed_tied", "`\"unembed\"` of a tied model", "the same", "differs",
        "the shared matrix, with a warning; devinterp's set is empty"),
    Row("errors", "`except ValueError`, `except TypeError`", "the same", "same", "seven calls that cannot work",
        tests=(f"{CUSTOM}::test_rmsprop_arg_rejected_for_non_rmsprop_sampler (2)", f"{CUSTOM}::test_rmsprop_arg_rejects_duplicate (2)")),
    Row("caching", "`output_path=` twice, other settings", "the same", "same", "the store again; RuntimeError",
        tests=(f"{CACHING}::test_bif_caching", f"{CACHING}::test_susceptibilities_per_wr_cache")),
    Row("caching_other_model", "`output_path=` twice, another model", "the same", "differs",
        "refused: the store's key holds model, data and masks, too; devinterp returns the other model's samples"),
    Row("default_nbeta", "`default_nbeta(loader)`", "the same", "same", "n / ln n"),
)  # fmt: skip

OTHERS = (
    ("optim/test_sgmcmc.py, test_preconditioner.py, test_prior.py, test_metrics.py", 4,
     "whole files: classes of torch optimizers: samplers here are functions of a state (`sample_function`, `sample_single_chain`)"),
    ("optim/test_sketch.py, test_sketch_metrics.py", 2, "whole files: random sketches of gradients are not kept"),
)  # fmt: skip

PEER = Peer("devinterp", "2.0.1", ("devinterp==2.0.1", "transformers==5.17.0"), ROWS, OTHERS)
