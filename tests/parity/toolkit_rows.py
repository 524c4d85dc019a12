"""interpretability-toolkit's rows: its README's examples. No package and no source of it is to be had, so answers are computed by hand."""

from __future__ import annotations

from .rows import Peer, Row

ROWS = (
    Row("residual", "`ActivationCache(model).run(text).residual_stream(layer=6)`", "the same", "same",
        "(tokens, width), what a hook of torch's own reads"),
    Row("pattern", "`activations.attention_pattern(layer=6, head=3)`", "the same", "same",
        "(tokens, tokens): rows sum to 1, nothing above the diagonal; against the model's own attentions"),
    Row("probe", "`LinearProbe(input_dim, num_classes).train(…, epochs=50)`, `.evaluate(…)`", "the same", "same",
        "accuracy on two classes that a plane parts"),
    Row("patch", "`activation_patch(…, patch_layer=, patch_component=\"mlp\")`", "the same", "same",
        "`logit_diff_change`, against a hook that puts the clean MLP's output into the corrupt run"),
    Row("circuit", "`CircuitFinder(model, threshold=0.01).find_circuit(…)`, `.summary()`", "the same", "same",
        "fewer parts than the model's 36, more than 0.9 of the behaviour; the summary counts heads and MLPs"),
    Row("plots", "`plot_attention(pattern, tokens=)`, `plot_circuit(circuit, output=)`", "the same", "same",
        "SVG that draws itself in a notebook, and a file"),
)  # fmt: skip

PEER = Peer("interpretability-toolkit", "README of 2026", None, ROWS)
