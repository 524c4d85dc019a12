"""What the processes do that hold a part of a worker's model: each step of its chains, and nothing that leaves a trace but checkpoints.

Imports torch.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from ...runtime import ranks as rank_processes
from ...runtime.context import Context
from ...samplers.chains.executor import Executor
from ...samplers.chains.run import ChainsResult, run_chains
from ...samplers.settings import SamplerConfig
from ...samplers.sharded.ranks import Ranks
from ...samplers.sharded.target import ShardedTarget
from . import by_ranks, config_of, run

T = TypeVar("T")


def follow(context: Context, *, control: bool) -> None:
    """Take every step of the worker's chains, with this rank's part of the weights. control: whether the worker looks at that, too."""
    manifest = context.manifest
    with rank_processes.together(context) as ranks:
        assert ranks is not None, "a worker alone starts nobody"
        config = config_of(manifest)
        model, rows = _drained(by_ranks.loaded_once(run.load, manifest, ranks))
        problem = by_ranks.problem_of(manifest, model, rows, ranks)
        executor = by_ranks.executor_of(manifest, ranks)
        done = _sample(context, problem, config, executor, ranks)
        healthy = any(chain.healthy for chain in done.snapshot.chains)
        if control and not done.interrupted and healthy:
            run.control_of(problem, config, executor)
        if done.interrupted or healthy:  # where all chains failed, the worker has gone
            ranks.meet()


def _drained(events: Generator[object, None, T]) -> T:
    """What a generator returns; what it says is the worker's to say."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            value: T = end.value
            return value


def _sample(context: Context, problem: ShardedTarget, config: SamplerConfig, executor: Executor, ranks: Ranks) -> ChainsResult:
    """The same steps as the worker's, by a rank that writes nothing but its own checkpoints."""
    return run_chains(
        problem,
        config,
        chains=range(config.num_chains),
        store=None,
        executor=executor,
        checkpoint_dir=context.checkpoint_path,
        checkpoint_every=None,
        poll=by_ranks.agreed_order(context, ranks, 0.0),
        report=lambda snapshot: None,
        report_every=float("inf"),
        warn=lambda message: None,
    )
