"""The README's examples with this engine."""

from __future__ import annotations

import tempfile
from pathlib import Path

import interp_tui_engine as engine

from .interp_ours import model
from .interp_work import CLEAN, CORRUPT, Numbers
from .toolkit_work import HEAD, LAYER, _some, classes


def numbers() -> dict[str, Numbers | None]:
    activations = engine.ActivationCache(model()).run(CLEAN)
    pattern = activations.attention_pattern(layer=LAYER, head=HEAD)
    x, labels = classes()
    probe = engine.LinearProbe(input_dim=6, num_classes=2)
    probe.train(activations=x, labels=labels, epochs=50)
    patch = engine.activation_patch(
        model=model(), clean_input=CLEAN, corrupt_input=CORRUPT, target_token=" Paris", counterfactual_token=" Tokyo", patch_layer=LAYER,
        patch_component="mlp",
    )  # fmt: skip
    finder = engine.CircuitFinder(model(), threshold=0.01)
    circuit = finder.find_circuit([CLEAN], [CORRUPT], "logit_diff", answers=[" Paris"], counterfactuals=[" Tokyo"], with_edges=False)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "circuit.svg"
        drawn = (
            engine.plot_attention(pattern, tokens=[str(place) for place in range(len(pattern))]),
            engine.plot_circuit(circuit, output=page),
        )
        plots = [float("<svg" in str(drawn[0])), float("<svg" in drawn[1]._repr_svg_()), float(page.exists())]
    heads = sum(node.name == "z" for node in circuit.nodes)
    assert circuit.summary().startswith(f"Circuit: {heads} attention heads, {len(circuit.nodes) - heads} MLP layers")
    return {
        "residual": _some(activations.residual_stream(layer=LAYER)),
        "pattern": _some(pattern),
        "probe": [probe.evaluate(x, labels)],
        "patch": [patch.logit_diff_change],
        "circuit": [float(0 < len(circuit.nodes) < 36), float(circuit.faithfulness > 0.9)],
        "plots": plots,
    }
