"""What exactness costs: the product's step on one device beside a plain one, and PyTorch's.

All three train the same model with the same optimizer on the same batch of one microbatch, in
float32, on all cores that they take by themselves. The product adds gradients as integers, in two
programs that can be moved to other devices; the plain step is one `jax.jit`.
"""

import importlib.util
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from stepjax.bench.result import Result
from stepjax.bench.trainers import Prepared, prepared, trainer_on
from stepjax.model.group import Alone
from stepjax.train.objective import KINDS
from stepjax.train.step import microbatch_loss

WARM_UP = 2  # turns that do not count
SAME = 1e-4  # how far the plain step's first loss may be from the product's, in shares of it

OneStep = Callable[[], float]  # trains on the batch once more and returns the loss from before


def run(config: ConfigDict) -> Result:
    """The implementations take turns, `config.turns` times.

    Returns: a row for each with `seconds` (median), `fastest`, `slowest`; the summary has the
      medians over turns of the product's seconds over the plain step's (`over_plain_jit`) and over
      PyTorch's (`over_torch`; None where torch and transformers are not installed).
    """
    made = prepared(config.run, ring_size=1)
    rows = config.run.data.global_batch
    with trainer_on(config.run, made, 1, 1, 1, microbatch=rows) as trained:
        steps = {"stepjax": _product(trained), "plain jax.jit": _plain(config.run, made)}
        if all(map(importlib.util.find_spec, ("torch", "transformers"))):
            from stepjax.bench import torch_twin

            steps["torch"] = torch_twin.one_step(config.run, made.arrays)
        return _in_turns(steps, config.turns, made)


def _in_turns(steps: dict[str, OneStep], turns: int, made: Prepared) -> Result:
    first = {name: one() for name, one in steps.items()}
    ours, plain = first["stepjax"], first["plain jax.jit"]
    assert abs(ours - plain) <= SAME * abs(plain), (
        f"{ours} is not the loss of the plain step, {plain}"
    )
    taken = [{name: _seconds(one) for name, one in steps.items()} for _ in range(WARM_UP + turns)]
    seconds = {name: np.array([turn[name] for turn in taken[WARM_UP:]]) for name in steps}
    rows = [
        {
            "implementation": name,
            "seconds": float(np.median(of_one)),
            "fastest": float(of_one.min()),
            "slowest": float(of_one.max()),
        }
        for name, of_one in seconds.items()
    ]
    summary = {
        "over_plain_jit": None,
        "over_torch": None,
        "parameters": sum(x.size for x in jax.tree.leaves(made.programs.params)),
        "turns": turns,
    }
    for name, other in (("over_plain_jit", "plain jax.jit"), ("over_torch", "torch")):
        if other in seconds:
            ratios = seconds["stepjax"] / seconds[other]
            summary[name] = float(np.median(ratios))
            summary[f"{name}_over_turns"] = {
                "fastest": float(ratios.min()),
                "slowest": float(ratios.max()),
            }
    return Result(rows, summary)


def _seconds(one_step: OneStep) -> float:
    began = time.perf_counter()
    one_step()
    return time.perf_counter() - began


def _product(trained) -> OneStep:
    done = 0

    def one_step() -> float:
        nonlocal done
        done += 1
        return trained.measured(done - 1).loss

    return one_step


def _plain(config: ConfigDict, made: Prepared) -> OneStep:
    """The same loss, clipping and optimizer as one program."""
    step = made.programs
    kind_weights = jnp.array([config.objective[kind] for kind in KINDS])

    def train(state, batch):
        params, opt = state
        counts = jnp.stack([(batch["kind"] == k + 1).sum() for k in range(len(KINDS))])
        weights = kind_weights / (kind_weights @ counts)
        loss_of = jax.value_and_grad(microbatch_loss, has_aux=True)
        (loss, _), grads = loss_of(params, step.graph, batch, weights, Alone())
        factor = jnp.minimum(1.0, step.clip / optax.tree.norm(grads))
        updates, opt = step.optimizer.update(jax.tree.map(lambda g: factor * g, grads), opt, params)
        return (optax.apply_updates(params, updates), opt), loss

    program = jax.jit(train, donate_argnums=0)
    state, batch = jax.jit(made.make_state)()[:2], jax.device_put(made.arrays)

    def one_step() -> float:
        nonlocal state
        state, loss = program(state, batch)
        jax.block_until_ready(state)
        return float(loss)

    return one_step
