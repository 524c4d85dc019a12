"""interp 0.1's rows, with its own code on the embedded model."""

from __future__ import annotations

from .rows import Peer, Row

PROMPTS = "tests/test_prompts.py"
TRACE = "tests/test_patching_invariants.py"
ROWS = (
    Row("lens", "`logit_lens(model, prompt, answer)`", "the same", "same", "probability and rank of the answer by layer, crossover layer",
        tests=("tests/test_metrics.py::test_answer_logit_and_prob", "tests/test_metrics.py::test_answer_rank_zero_is_top1",
               "tests/test_experiments.py::test_logit_lens_experiment")),
    Row("lens_top", "`result.top_token`", "the same", "same", "each layer's likeliest token"),
    Row("lens_position", "`logit_lens(…, position=2)`", "the same", "same", "read at another token",
        tests=("tests/test_metrics.py::test_logits_at_handles_each_rank",)),
    Row("trace", "`causal_trace(model, FactPrompt(…))`", "`causal_trace(model, clean=, corrupt=, answer=, counterfactual=)`", "same",
        "both ends and recovery at every layer and token", rtol=1e-3, atol=1e-4,
        tests=("tests/test_metrics.py::test_logit_diff_is_signed_difference", "tests/test_metrics.py::test_recovery_endpoints_and_midpoint",
               "tests/test_metrics.py::test_recovery_can_exceed_one", f"{TRACE}::test_identity_patch_is_a_noop (2)",
               "tests/test_experiments.py::test_causal_tracing_experiment")),
    Row("trace_prob", "`metric=\"answer_prob\"`", "the same", "same", "recovery of the probability", rtol=1e-3, atol=1e-4),
    Row("peak", "`result.peak`", "the largest entry of `recovery[\"resid_post\"]`", "same", "layer, position, recovery", rtol=1e-3,
        tests=(f"{TRACE}::test_causal_trace_peaks_on_the_subject_token",)),
    Row("positions", "`corrupted_positions(clean, corrupt)`", "where `tokens` and `corrupt_tokens` differ", "same", "positions",
        tests=(f"{PROMPTS}::test_corrupted_positions_finds_the_diff", f"{PROMPTS}::test_corrupted_positions_accepts_tensors",
               f"{PROMPTS}::test_corrupted_positions_identical_is_empty")),
    Row("unequal", "prompts of unequal length", "the same", "same", "a ValueError",
        tests=("tests/test_prompts.py::test_corrupted_positions_unequal_length_raises",)),
    Row("no_difference", "prompts that do not differ in the metric", "the same", "differs",
        "a ValueError; interp gives recovery 0, which reads as a measurement",
        tests=("tests/test_metrics.py::test_recovery_degenerate_denominator_is_zero",)),
)  # fmt: skip

OTHERS = (
    ("tests/test_registry.py", 4, "experiments are kinds, each a file of `experiments/` that is found by itself: no decorator"),
    ("tests/test_prompts.py: facts.yaml", 2, "a library of facts is found by a config that names one (`fact_id`): tests/engine/test_peer_configs.py"),
    ("tests/test_adapter_consistency.py", 1, "back ends are compared by our own tests, where both are installed"),
)  # fmt: skip

PEER = Peer("interp", "0.1.0", None, ROWS, OTHERS)
