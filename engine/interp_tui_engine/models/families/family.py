"""What is said of an architecture family: where its parts are, and how its attention weights divide among heads. Torch-free values.

Paths are attribute paths of modules (`model.layers`), relative to the model, or to a block where so stated. A path inside a block that
contains `{layer}` is one of the model instead, for families that keep each kind of part in a list of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Layout = Literal["separate", "interleaved", "concatenated", "grouped", "sharded"]
"""How query, key and value rows follow one another. H heads of d rows, K key-value heads.

separate      three modules
interleaved   one module, head by head: (H, [q k v], d)
concatenated  one module, all queries first: H·d, then K·d keys, then K·d values
grouped       one module, key-value head by key-value head: (K, [H/K queries, k, v], d)
sharded       one module in 4 shards, each (q, v, k) of a quarter of the heads: (4, [q v k], H/4, d)
"""

HEADS = ("decoder_attention_heads", "num_decoder_attention_heads", "num_attention_heads", "n_head", "n_heads", "num_heads")
"""Names under which configurations state the number of query heads; the first that one has counts."""


@dataclass(frozen=True)
class Attention:
    """One kind of softmax attention in a family's blocks. All names are relative to `path`.

    Numbers of key-value heads and head widths are not stated here: they are read off the weights, which know them better than
    configurations do (o takes H·d_v numbers in, v gives K·d_v out).
    """

    path: str
    """The attention module, relative to the block."""
    o: str
    """Output projection: its input is the heads' outputs side by side, head 0 first."""
    q: str = ""
    k: str = ""
    v: str = ""
    """Projections of separate layout; empty where fused, or where v is absent because keys serve as values."""
    qkv: str = ""
    """The fused projection, if there is one."""
    layout: Layout = "separate"
    transposed: bool = False
    """Weights are (in, out), as in GPT-2's Conv1D, instead of (out, in)."""
    per_head: tuple[str, ...] = ()
    """Other modules or parameters whose first axis divides evenly among the query heads: sinks, output gates, latent up-projections."""
    per_group: tuple[str, ...] = ()
    """Other modules or parameters whose first axis divides evenly among the key-value heads."""
    idle: tuple[str, ...] = ()
    """Key biases that change nothing: where positions do not turn keys, one adds the same to all scores of a query, which softmax
    takes away. A head's restriction leaves them out."""
    heads: tuple[str, ...] = HEADS
    """Where the configuration states H."""


@dataclass(frozen=True)
class Family:
    """Where a family of architectures keeps its parts. A path that a given model lacks is skipped; a list gives alternatives or several."""

    name: str
    model_types: tuple[str, ...]
    """`config.model_type` of the models described."""
    blocks: str
    """The list of blocks (layers)."""
    embed: tuple[str, ...]
    """Token embeddings. Positions are not among them."""
    unembed: tuple[str, ...]
    """What maps the last hidden state to logits."""
    final_norm: str
    """The norm before the unembedding; empty where the family has none."""
    attention: tuple[Attention, ...] = ()
    """Alternatives: a block has the first whose modules it has, or none."""
    mlp: tuple[str, ...] = ()
    """Feed-forward modules of a block, experts and routers included."""
    mixers: tuple[str, ...] = ()
    """Modules of a block that mix positions without softmax heads: state spaces, linear attention, convolutions."""
    beside: tuple[str, ...] = ()
    """Further modules that belong to a layer although its block does not hold them; paths with `{layer}`."""
    when: Callable[[Any], bool] | None = None
    """Which configurations of these model types are meant, where a setting changes the layout."""
    parallel: tuple[str, ...] = ()
    """Those of the model types whose every block feeds attention and feed-forward the same input; others say so in their configuration."""
    adds_inside: bool = False
    """Feed-forward modules add the residual stream themselves: what they add to it is what their last matrix says."""
    in_place: bool = False
    """Blocks add attention's output into the feed-forward's tensor."""
