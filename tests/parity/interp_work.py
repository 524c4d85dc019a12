"""What interp does, with its own code: its lens and its trace on a model of ours, through an adapter of the kind it asks for.

Runs in interp's environment. Its adapters load GPT-2 and Qwen3 from a hub; this one holds the embedded model, so that numbers can be
compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

Numbers = list[float]
MODEL = Path(__file__).resolve().parents[2] / "engine" / "interp_tui_engine" / "models" / "tiny"
CLEAN, CORRUPT = "The capital of France is", "The capital of Japan is"


def embedded() -> tuple[Any, Any]:
    """The embedded model and its tokenizer, by transformers alone."""
    from safetensors.torch import load_file

    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(MODEL), dtype=torch.float32).eval()
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(MODEL / "final.safetensors").items()}, strict=False)
    return model, transformers.PreTrainedTokenizerFast(tokenizer_file=str(MODEL / "tokenizer.json"))


def adapter() -> Any:
    """The embedded model with the methods of interp's ModelAdapter that its lens and trace call."""
    from interp.models.base import ActivationCache, Site

    model, tokenizer = embedded()

    class Tiny:
        n_layers = len(model.model.layers)

        def to_tokens(self, prompt: str, **_: Any) -> torch.Tensor:
            return torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])

        def to_str_tokens(self, prompt: str) -> list[str]:
            return [tokenizer.decode([token]) for token in self.to_tokens(prompt)[0]]

        def to_string(self, token: int) -> str:
            return str(tokenizer.decode([token]))

        def first_token_id(self, text: str) -> int:
            return int(tokenizer(text, add_special_tokens=False)["input_ids"][0])

        def unembed(self, resid: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return model.lm_head(model.model.norm(resid))

        def forward(self, tokens: torch.Tensor, patches: Any = (), **_: Any) -> torch.Tensor:
            hooks = []
            for patch in patches or ():

                def hook(module: Any, inputs: Any, output: Any, patch: Any = patch) -> Any:
                    stream = (output[0] if isinstance(output, tuple) else output).clone()
                    stream[:, patch.position] = patch.value
                    return (stream, *output[1:]) if isinstance(output, tuple) else stream

                hooks.append(model.model.layers[patch.layer].register_forward_hook(hook))
            with torch.no_grad():
                logits = model(tokens).logits
            for handle in hooks:
                handle.remove()
            return logits

        def run_with_cache(self, tokens: torch.Tensor, sites: Any) -> Any:
            kept = {}
            hooks = [
                block.register_forward_hook(
                    lambda module, inputs, output, layer=layer: kept.__setitem__(
                        (Site.RESID_POST, layer), output[0] if isinstance(output, tuple) else output
                    )
                )
                for layer, block in enumerate(model.model.layers)
            ]
            with torch.no_grad():
                logits = model(tokens).logits
            for handle in hooks:
                handle.remove()
            return logits, ActivationCache(kept)

    return Tiny()


def numbers() -> dict[str, Numbers | None]:
    from interp import causal_trace, logit_lens
    from interp.metrics import recovery
    from interp.prompts import FactPrompt, corrupted_positions

    model = adapter()
    fact = FactPrompt(CLEAN, CORRUPT, " Paris", " Tokyo", "France")
    lens, early = logit_lens(model, CLEAN, " Paris"), logit_lens(model, CLEAN, " France", position=2)
    traces = {metric: causal_trace(model, fact, metric=metric) for metric in ("logit_diff", "answer_prob")}
    first = traces["logit_diff"]
    return {
        "lens": [*lens.answer_prob, *map(float, lens.answer_rank), float(-1 if lens.crossover_layer is None else lens.crossover_layer)],
        "lens_top": [float(ord(top.strip()[:1] or " ")) for top in lens.top_token],
        "lens_position": [*early.answer_prob, *map(float, early.answer_rank)],
        "trace": [first.clean_metric, first.corrupt_metric, *(cell for row in first.recovery for cell in row)],
        "trace_prob": [cell for row in traces["answer_prob"].recovery for cell in row],
        "peak": [float(first.peak["layer"]), float(first.peak["position"]), first.peak["recovery"]],
        "positions": [float(place) for place in corrupted_positions(model.to_tokens(CLEAN), model.to_tokens(CORRUPT))],
        "no_difference": [recovery(3.0, 2.0, 2.0)],
        "unequal": [float(_raises(lambda: corrupted_positions([1, 2, 3], [1, 2])))],
    }


def _raises(call: Any) -> bool:
    try:
        call()
    except ValueError:
        return True
    return False


if __name__ == "__main__":
    print(json.dumps(numbers()))
