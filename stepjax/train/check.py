"""What must hold between the parts of a config, checked before anything is made."""

from ml_collections import ConfigDict

from parallel.fabric.faults import Event, FaultPlan
from parallel.fabric.placement import place
from parallel.fabric.topology import KHopLine, KHopRing, Topology
from parallel.spmd.mesh import Layout

TOPOLOGIES = {"ring": KHopRing, "line": KHopLine}


def check(config: ConfigDict) -> tuple[Topology, Layout, FaultPlan]:
    """The fabric, the layout and the fault plan of a config.

    Raises: ValueError, in one sentence, for a config that cannot be run.
    """
    if config.steps < 1:
        raise ValueError(f"steps={config.steps}: a run has at least one step.")
    topology, layout = _fabric(config.fabric), Layout(config.mesh.tensor, config.mesh.fsdp)
    _check_groups(topology, layout, config.fabric.gpus_per_node)
    _check_batch(config.data)
    _check_heads(config.model, layout.tensor)
    return topology, layout, _plan(config, topology.num_nodes)


def _fabric(fabric: ConfigDict) -> Topology:
    if fabric.kind not in TOPOLOGIES:
        raise ValueError(f"fabric.kind={fabric.kind!r} is not known; use one of {', '.join(TOPOLOGIES)}.")
    if fabric.gpus_per_node < 1:
        raise ValueError(f"fabric.gpus_per_node={fabric.gpus_per_node}: a node has at least one GPU.")
    return TOPOLOGIES[fabric.kind](fabric.num_nodes, fabric.hops)


def _check_groups(topology: Topology, layout: Layout, gpus_per_node: int) -> None:
    nodes = layout.nodes_per_group(gpus_per_node)
    groups = len(place(topology, (), nodes).groups) * max(1, nodes * gpus_per_node // layout.tensor)
    if groups < layout.fsdp:
        raise ValueError(
            f"mesh.tensor={layout.tensor} with mesh.fsdp={layout.fsdp} needs {layout.fsdp} rings of {nodes} nodes, "
            f"but fabric.num_nodes={topology.num_nodes} nodes of {gpus_per_node} GPUs form {groups}; "
            "use more nodes or smaller groups."
        )


def _check_batch(data: ConfigDict) -> None:
    if data.microbatch < 1 or data.global_batch < 1 or data.global_batch % data.microbatch:
        raise ValueError(
            f"data.global_batch={data.global_batch} cannot be divided into microbatches of "
            f"data.microbatch={data.microbatch} rows; make it a multiple of {max(data.microbatch, 1)}."
        )


def _check_heads(model: ConfigDict, tensor: int) -> None:
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
            f"model.decoder.heads={model.decoder.heads} is not a multiple of model.decoder.kv_heads="
            f"{model.decoder.kv_heads}; each key/value head serves an equal number of heads."
        )


def _plan(config: ConfigDict, num_nodes: int) -> FaultPlan:
    try:
        plan = FaultPlan.parse(config.faults)
        plan.check(num_nodes)
    except ValueError as error:
        raise ValueError(f"faults={config.faults!r}: {error}") from None
    for event in plan.events:
        why = _never(event, plan, config)
        if why:
            raise ValueError(f"faults={config.faults!r}: '{event}' will never happen, since {why}.")
    return plan


def _never(event: Event, plan: FaultPlan, config: ConfigDict) -> str | None:
    """Why a run does not come to the moment of an event; None if it does."""
    if event.step >= config.steps:
        return f"the run has steps 0 to {config.steps - 1}; set steps to more than {event.step} or move it"
    saves = (event.step + 1) % config.checkpoint.every == 0 or event.step + 1 == config.steps
    if event.moment == "saving" and not saves:
        return f"nothing is saved after step {event.step}; checkpoint.every={config.checkpoint.every}"
    if event.moment == "recovering" and not plan.at(event.step, "before") + plan.at(event.step, "during"):
        return f"no other event of step {event.step} has to be recovered from; add one or move it"
    return None
