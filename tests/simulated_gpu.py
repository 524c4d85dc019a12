"""Tensors that stand for a GPU's on a machine without one: they compute on the CPU, refuse what a GPU refuses, and count what it pays for.

A `GpuTensor` says that it lies on `GPU` and holds a CPU tensor. An operation of one with a tensor of the CPU raises, as CUDA does. Counted
are launches (operations other than views) and the points at which the host waits for the device: read-backs, blocking copies, operations
whose result has a size that the host must know. Streams, kernels and the order of atomic additions are not simulated, and no time means
anything.

`GPU` is PyTorch's "meta" device: the only one besides the CPU whose tensors the autograd engine takes in a build without accelerators. Code
that asks for a device other than the CPU takes its GPU's way there; what is for "cuda" by name must be tested by that name.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("meta")

FREE = frozenset(["_local_scalar_dense", "_unsafe_view", "is_pinned", "lift_fresh"])
"""Operations that launch nothing, besides those that PyTorch calls views."""
WAITS = frozenset(["_local_scalar_dense", "_unique2", "bincount", "equal", "masked_select", "nonzero", "unique_consecutive", "unique_dim"])
"""Operations whose result, or its size, the host waits for."""
INDEXING = frozenset(["_index_put_impl_", "_unsafe_index", "_unsafe_index_put", "index", "index_put", "index_put_"])


class Counts:
    """What one stretch of a program asked of the device."""

    def __init__(self) -> None:
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        """The host waiting for the device, by what for and which line of the engine."""

    def wait(self, what: str) -> None:
        self.waits[f"{what} at {_caller()}"] += 1

    def reset(self) -> None:
        self.launches.clear()
        self.waits.clear()


def _caller() -> str:
    """The innermost line of the engine's that is being run."""
    frame = sys._getframe(2)
    while frame is not None:
        if "interp_tui_engine" in frame.f_code.co_filename:
            return f"{frame.f_code.co_filename.partition('interp_tui_engine/')[2]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "a test"


COUNTS = Counts()


class GpuTensor(Tensor):
    """A tensor that says it lies on the GPU. `values` is where its numbers are."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> GpuTensor:
        made: GpuTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, values.shape, strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype, device=GPU
        )
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        with torch._C._DisableFuncTorch(), torch.no_grad():  # a module may be copied inside a transform
            copied: Tensor = GpuTensor(self.values.detach().clone())
            if isinstance(self, nn.Parameter):
                copied = nn.Parameter(copied, self.requires_grad)
            assert copied.requires_grad == self.requires_grad, "only leaves are copied"
        memo[id(self)] = copied
        return copied

    def tolist(self) -> Any:
        COUNTS.wait("tolist")
        return self.values.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"a GPU's tensor cannot become a numpy array, at {_caller()}")

    __array__ = numpy  # type: ignore[assignment]

    def __repr__(self) -> str:  # type: ignore[override]
        return f"GpuTensor({tuple(self.shape)}, {self.dtype})"


def _dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func.overloadpacket.__name__
    if name == "_to_copy":
        return _moved(func, args[0], dict(kwargs))
    if name == "copy_":
        return _copied(*args, **kwargs)
    leaves = tree_leaves((args, kwargs))
    device = kwargs.get("device")
    if kwargs.get("pin_memory") and (device is None or torch.device(device).type == "cpu"):
        return _pinned(func(*args, **{**kwargs, "pin_memory": False}))
    if not any(isinstance(leaf, GpuTensor) for leaf in leaves) and (device is None or torch.device(device) != GPU):
        return func(*args, **kwargs)
    _refuse(func, name, args, leaves)
    if name in WAITS:
        COUNTS.wait(name)
    if not func.is_view and name not in FREE:
        COUNTS.launches[name] += 1
    plain_args, plain = tree_map(lambda leaf: leaf.values if isinstance(leaf, GpuTensor) else leaf, (args, kwargs))
    if device is not None:
        plain["device"] = torch.device("cpu")
    if plain.get("pin_memory"):
        plain["pin_memory"] = False
    result = func(*plain_args, **plain)
    if (written := _written(func, name, args, kwargs)) is not None:
        return written
    return tree_map(lambda leaf: GpuTensor(leaf) if isinstance(leaf, Tensor) else leaf, result)


def _written(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation that writes into its arguments gives back: those arguments themselves."""
    if not func._schema.is_mutable:
        return None
    if "out" in kwargs:
        return kwargs["out"]
    return args[0] if name.endswith("_") and isinstance(args[0], GpuTensor) else None


def _refuse(func: Any, name: str, args: Any, leaves: list[Any]) -> None:
    """Raise where a GPU would, and count what a GPU accepts but waits for."""
    if name in INDEXING:
        gpu = isinstance(args[0], GpuTensor)
        for index in (index for index in args[1] if index is not None):
            if not gpu and isinstance(index, GpuTensor):
                raise RuntimeError(f"a CPU's tensor is indexed by a GPU's, at {_caller()}")
            if not isinstance(index, GpuTensor):
                COUNTS.wait("an index comes from the CPU")
            if index.dtype in (torch.bool, torch.uint8):
                COUNTS.wait("nonzero of a mask")
        leaves = tree_leaves((args[0], args[2:]))
    if any(isinstance(leaf, Tensor) and not isinstance(leaf, GpuTensor) and leaf.dim() for leaf in leaves):
        raise RuntimeError(f"all tensors must be on one device, but {func} has some on the CPU, at {_caller()}")


def _moved(func: Any, source: Tensor, kwargs: dict[str, Any]) -> Tensor:
    device = kwargs.pop("device", None)
    if kwargs.get("memory_format", 0) is None:
        kwargs.pop("memory_format")
    before = isinstance(source, GpuTensor)
    after = before if device is None else torch.device(device) == GPU
    copied = func(source.values if before else source, **kwargs)
    if copied is (source.values if before else source):
        copied = copied.clone()
    if before != after and not (after and kwargs.get("non_blocking")):
        COUNTS.wait("a copy to the CPU" if before else "a copy from the CPU")
    elif before:
        COUNTS.launches["_to_copy"] += 1
    return GpuTensor(copied) if after else copied


_PINNED: set[int] = set()
"""Where pinned memory begins. It stays where it is as long as the test holds it."""


def _pinned(buffer: Tensor) -> Tensor:
    _PINNED.add(buffer.untyped_storage().data_ptr())
    return buffer


def _copied(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    into, of = isinstance(target, GpuTensor), isinstance(source, GpuTensor)
    if (into == of and into) or (non_blocking and of and target.untyped_storage().data_ptr() in _PINNED):
        COUNTS.launches["copy_"] += 1
    elif into != of:
        COUNTS.wait("a copy to the CPU" if of else "a copy from the CPU")
    (target.values if into else target).copy_(source.values if of else source)
    return target


class _Functions(TorchFunctionMode):
    """`torch.tensor`; and attention as one operation each way, as on a GPU (`GPU` has no fused kernel and would take it apart)."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu") == GPU:
            COUNTS.wait("a copy from the CPU")
            return GpuTensor(torch.tensor(*args, **{**kwargs, "device": "cpu"}))
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], GpuTensor):
            return func(args[0], _placed(args[1]), *args[2:])
        if func is not torch.nn.functional.scaled_dot_product_attention or not isinstance(torch.func.debug_unwrap(args[0]), GpuTensor):
            return func(*args, **kwargs)
        return _attention(*args, **kwargs)


def _placed(index: Any) -> Any:
    """An index with its lists of numbers copied to the GPU, as indexing does there."""
    if isinstance(index, tuple):
        return tuple(map(_placed, index))
    if isinstance(index, list):
        COUNTS.wait("an index comes from the CPU")
        return GpuTensor(torch.tensor(index))
    return index


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    heads = query.shape[-3]
    if enable_gqa and heads > key.shape[-3]:
        key, value = (held.repeat_interleave(heads // held.shape[-3], -3, output_size=heads) for held in (key, value))
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    attended: Tensor = attend(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return attended


class _Mode(TorchDispatchMode):
    """Makes what is created on the GPU a GpuTensor."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


_RUN, _GENERATOR = threading.Thread.run, torch.Generator


class _AnyGenerator:
    """A generator of the CPU's, whatever device it is asked for."""

    def __new__(cls, device: Any = "cpu") -> torch.Generator:  # type: ignore[misc]
        return _GENERATOR()


def _run_simulated(thread: threading.Thread) -> None:
    with _Mode(), _Functions():
        _RUN(thread)


@contextmanager
def simulated_gpu() -> Iterator[Counts]:
    """Inside, tensors may be made on and moved to `GPU`, with the CPU's generators; gives the counts, from zero.

    Threads that are started inside are inside.
    """
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    torch.Generator = _AnyGenerator  # type: ignore[assignment, misc]
    threading.Thread.run = _run_simulated  # type: ignore[method-assign]
    COUNTS.reset()
    try:
        with _Mode(), _Functions():
            yield COUNTS
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
        torch.Generator = _GENERATOR  # type: ignore[misc]
        threading.Thread.run = _RUN  # type: ignore[method-assign]


def to_gpu(module: nn.Module) -> nn.Module:
    """Move a module's parameters and buffers, in place; tied parameters stay tied."""
    held = list(module.parameters())  # so that no new one gets an old one's id
    moved: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                made = moved.setdefault(id(parameter), nn.Parameter(GpuTensor(parameter.detach().clone()), parameter.requires_grad))
                part._parameters[name] = made
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = GpuTensor(buffer.detach().clone())
    del held
    return module


@contextmanager
def models_on_the_gpu() -> Iterator[None]:
    """Inside `simulated_gpu`: whatever loads a model or an SAE by a manifest loads it onto `GPU`, whatever device that names."""
    from interp_tui_engine.models import builtin, given, halving, load

    finish = builtin.finish

    def finish_there(module: Any, tokenizer: Any, **options: Any) -> Any:
        loaded = finish(module, tokenizer, **{**options, "device": torch.device("cpu")})
        return replace(loaded, module=to_gpu(loaded.module), device=GPU)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(builtin, "finish", finish_there)
        patched.setattr(load, "resolve_device", lambda name: GPU)
        patched.setattr(halving, "free_memory", lambda device: 1 << 33)
        patched.setattr(given, "module_of", partial(given.module_of, shapes_only=True))
        patched.setattr("interp_tui_engine.sites.cache.module_of", given.module_of)
        yield


def per_step(do: Callable[[int], None], few: int, many: int) -> tuple[dict[str, float], dict[str, float]]:
    """Launches and waits that each further step of `do(steps)` costs."""
    counted = []
    for steps in (few, many):
        COUNTS.reset()
        do(steps)
        counted.append((Counter(COUNTS.launches), Counter(COUNTS.waits)))
    (launches, waits), (more_launches, more_waits) = counted
    return tuple(  # type: ignore[return-value]
        {what: (more[what] - less[what]) / (many - few) for what in more if more[what] != less[what]}
        for less, more in ((launches, more_launches), (waits, more_waits))
    )
