"""What must hold between the parts of a config, checked before anything is made."""

import functools

from ml_collections import ConfigDict

from parallel.fabric.faults import Fault, FaultPlan
from parallel.fabric.placement import place
from parallel.fabric.topology import KHopLine, KHopRing, Topology, check_ring_size
from parallel.spmd.mesh import Layout
from stepjax.audio import mel

TOPOLOGIES = {"ring": KHopRing, "line": KHopLine}
DTYPES = ("float32", "bfloat16")
DIGITS_READ = ("fsdd", "heldout_below", "max_digits", "gap_seconds", "augment")
LEAST = {
    "steps": 1,
    "fabric.gpus_per_node": 1,
    "data.global_batch": 1,
    "data.microbatch": 1,
    "model.encoder.heads": 1,
    "model.encoder.layers": 1,
    "model.decoder.heads": 1,
    "model.decoder.kv_heads": 1,
    "model.decoder.layers": 1,
    "optimizer.warmup": 0,
    "checkpoint.every": 1,
    "checkpoint.keep": 1,
    "evaluate.every": 0,
}


def check(config: ConfigDict) -> tuple[Topology, Layout, FaultPlan]:
    """The fabric, the layout and the fault plan of a config.

    Raises: ValueError, in one sentence, for a config that cannot be run.
    """
    _check_numbers(config)
    topology, layout = _fabric(config.fabric), Layout(config.mesh.tensor, config.mesh.fsdp)
    _check_groups(topology, layout, config.fabric.gpus_per_node)
    _check_data(config.data)
    _check_model(config.model, layout.tensor)
    return topology, layout, _plan(config, topology.num_nodes)


def _check_numbers(config: ConfigDict) -> None:
    for name, least in LEAST.items():
        value = functools.reduce(lambda part, key: part[key], name.split("."), config)
        if value < least:
            raise ValueError(f"{name}={value} is too few; use {least} or more.")
    if config.optimizer.warmup >= config.steps:
        raise ValueError(
            f"optimizer.warmup={config.optimizer.warmup} steps do not end within "
            f"steps={config.steps}; use fewer."
        )


def _fabric(fabric: ConfigDict) -> Topology:
    if fabric.kind not in TOPOLOGIES:
        raise ValueError(
            f"fabric.kind={fabric.kind!r} is not known; use one of {', '.join(TOPOLOGIES)}."
        )
    return TOPOLOGIES[fabric.kind](fabric.num_nodes, fabric.hops)


def _check_groups(topology: Topology, layout: Layout, gpus_per_node: int) -> None:
    nodes = layout.nodes_per_group(gpus_per_node)
    check_ring_size(range(nodes), gpus_per_node)
    groups = len(place(topology, (), nodes).groups) * max(1, nodes * gpus_per_node // layout.tensor)
    if groups < layout.fsdp:
        raise ValueError(
            f"mesh.tensor={layout.tensor} with mesh.fsdp={layout.fsdp} needs {layout.fsdp} rings "
            f"of {nodes} nodes, "
            f"but fabric.num_nodes={topology.num_nodes} nodes of {gpus_per_node} GPUs form "
            f"{groups}; "
            "use more nodes or smaller groups."
        )


def _check_data(data: ConfigDict) -> None:
    missing = [name for name in DIGITS_READ if name not in data]
    if data.kind == "fsdd" and missing:
        raise ValueError(
            f"data.kind='fsdd' needs data.{', data.'.join(missing)}, which this config does not "
            "have; "
            "start from configs/digits.py."
        )
    if data.global_batch % data.microbatch:
        raise ValueError(
            f"data.global_batch={data.global_batch} cannot be divided into microbatches of "
            f"data.microbatch={data.microbatch} rows; make it a multiple of {data.microbatch}."
        )


def _check_model(model: ConfigDict, tensor: int) -> None:
    if model.dtype not in DTYPES:
        raise ValueError(
            f"model.dtype={model.dtype!r} is not known; use one of {', '.join(DTYPES)}."
        )
    if model.encoder.mels != mel.NUM_MELS:
        raise ValueError(
            f"model.encoder.mels={model.encoder.mels}, but the front end makes {mel.NUM_MELS}; use "
            "that."
        )
    split = {
        "encoder.heads": model.encoder.heads, "encoder.width": model.encoder.width,
        "encoder.hidden": model.encoder.hidden, "decoder.heads": model.decoder.heads,
        "decoder.kv_heads": model.decoder.kv_heads, "decoder.hidden": model.decoder.hidden,
    }  # fmt: skip
    for name, size in split.items():
        if size % tensor:
            raise ValueError(
                f"model.{name}={size} cannot be split over mesh.tensor={tensor} devices; "
                f"use a multiple of {tensor}, or a smaller ring."
            )
    if model.encoder.width % model.encoder.heads:
        raise ValueError(
            f"model.encoder.width={model.encoder.width} is not a multiple of model.encoder.heads="
            f"{model.encoder.heads}; each head takes an equal part of the width."
        )
    if model.decoder.heads % model.decoder.kv_heads:
        raise ValueError(
            f"model.decoder.heads={model.decoder.heads} is not a multiple of "
            "model.decoder.kv_heads="
            f"{model.decoder.kv_heads}; each key/value head serves an equal number of heads."
        )
    if model.decoder.head_size % 2:
        raise ValueError(
            f"model.decoder.head_size={model.decoder.head_size} is odd, and rotary positions turn "
            "pairs of numbers; "
            "use an even one."
        )


def _plan(config: ConfigDict, num_nodes: int) -> FaultPlan:
    try:
        plan = FaultPlan.parse(config.faults)
        plan.check(num_nodes)
    except ValueError as error:
        raise ValueError(f"faults: {error}") from None
    for fault in plan.faults:
        why = _never(fault, plan, config)
        if why:
            raise ValueError(f"faults: '{fault}' will never happen, since {why}.")
    return plan


def _never(fault: Fault, plan: FaultPlan, config: ConfigDict) -> str | None:
    """Why a run does not come to the moment of a fault; None if it does."""
    if fault.step >= config.steps:
        last = config.steps - 1
        return f"the run has steps 0 to {last}; set steps to more than {fault.step} or move it"
    every = config.checkpoint.every
    saved = min((fault.step // every + 1) * every, config.steps) - 1
    if fault.moment == "saving" and fault.step != saved:
        return (
            f"with checkpoint.every={every} nothing is saved after step {fault.step}; "
            f"move it to step {saved}"
        )
    if fault.moment == "recovering" and not plan.at(fault.step, "before") + plan.at(
        fault.step, "during"
    ):
        return f"no other fault of step {fault.step} has to be recovered from; add one or move it"
    return None
