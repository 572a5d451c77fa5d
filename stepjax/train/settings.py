"""A whole config as frozen values, with everything that must hold between its sections."""

import dataclasses

from parallel.fabric.faults import Fault, FaultPlan
from parallel.fabric.placement import place
from parallel.fabric.switchboard import Switchboard
from parallel.fabric.topology import KHopLine, KHopRing, Topology, check_ring_size
from parallel.spmd.mesh import Layout
from stepjax.data.config import DataConfig
from stepjax.fields import Section, one_of, section, text, whole
from stepjax.model.step_audio import ModelConfig
from stepjax.train.objective import ObjectiveConfig
from stepjax.train.optimizer import OptimizerConfig

TOPOLOGIES = {"ring": KHopRing, "line": KHopLine}
MOST_DEVICES = 4096  # one process emulates so many within seconds
MOST_STEPS = 10**9


@dataclasses.dataclass(frozen=True)
class FabricConfig(Section, place="fabric"):
    """The nodes, and how far their wires reach."""

    kind: str = one_of(TOPOLOGIES)
    num_nodes: int = whole(1, MOST_DEVICES)
    gpus_per_node: int = whole(1, MOST_DEVICES)
    hops: int = whole(1, MOST_DEVICES)

    def __post_init__(self):
        super().__post_init__()
        if self.num_devices > MOST_DEVICES:
            raise ValueError(
                f"fabric.num_nodes={self.num_nodes} nodes of fabric.gpus_per_node="
                f"{self.gpus_per_node} are {self.num_devices:,} devices; use at most "
                f"{MOST_DEVICES:,}."
            )
        try:
            Switchboard(self.topology(), self.gpus_per_node)
        except ValueError as error:
            raise ValueError(
                f"fabric.num_nodes={self.num_nodes}, fabric.gpus_per_node={self.gpus_per_node} and "
                f"fabric.hops={self.hops} do not go together: {error}"
            ) from None

    @property
    def num_devices(self) -> int:
        return self.num_nodes * self.gpus_per_node

    def topology(self) -> Topology:
        return TOPOLOGIES[self.kind](self.num_nodes, self.hops)


@dataclasses.dataclass(frozen=True)
class MeshConfig(Section, place="mesh"):
    """How many ways the mesh splits a layer and the parameters."""

    tensor: int = whole(1, MOST_DEVICES)
    fsdp: int = whole(1, MOST_DEVICES)

    def layout(self) -> Layout:
        return Layout(self.tensor, self.fsdp)


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(Section, place="checkpoint"):
    """When a run saves its state, and how many of these it keeps."""

    every: int = whole(1, MOST_STEPS)
    keep: int = whole(1, 10**6)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(Section, place="evaluate"):
    """When a run measures its model on held-out speech; 0 is only at the end."""

    every: int = whole(0, MOST_STEPS)


@dataclasses.dataclass(frozen=True)
class Settings(Section, place=""):
    """A config that can be trained. `Settings.of(config)` refuses any other, in one sentence."""

    seed: int = whole(0, 2**32 - 1)
    steps: int = whole(1, MOST_STEPS)
    faults: str = text()
    fabric: FabricConfig = section(FabricConfig)
    mesh: MeshConfig = section(MeshConfig)
    data: DataConfig = section(DataConfig)
    model: ModelConfig = section(ModelConfig)
    objective: ObjectiveConfig = section(ObjectiveConfig)
    optimizer: OptimizerConfig = section(OptimizerConfig)
    checkpoint: CheckpointConfig = section(CheckpointConfig)
    evaluate: EvaluateConfig = section(EvaluateConfig)

    def __post_init__(self):
        super().__post_init__()
        if self.optimizer.warmup >= self.steps:
            raise ValueError(
                f"optimizer.warmup={self.optimizer.warmup} steps do not end within "
                f"steps={self.steps}; use fewer."
            )
        _check_groups(self.fabric, self.mesh)
        _check_split(self.model, self.mesh.tensor)
        self.plan()

    def plan(self) -> FaultPlan:
        """The faults of the run, all of which come to pass."""
        try:
            plan = FaultPlan.parse(self.faults)
            plan.check(self.fabric.num_nodes)
        except ValueError as error:
            raise ValueError(f"faults: {error}") from None
        for fault in plan.faults:
            why = _never(fault, plan, self.steps, self.checkpoint.every)
            if why:
                raise ValueError(f"faults: '{fault}' will never happen, since {why}.")
        return plan


def _check_groups(fabric: FabricConfig, mesh: MeshConfig) -> None:
    """The healthy fabric forms a ring for every part of the parameters."""
    try:
        nodes = mesh.layout().nodes_per_group(fabric.gpus_per_node)
        check_ring_size(range(nodes), fabric.gpus_per_node)
    except ValueError as error:
        raise ValueError(
            f"mesh.tensor={mesh.tensor} and fabric.gpus_per_node={fabric.gpus_per_node} do not go "
            f"together: {error}"
        ) from None
    groups = len(place(fabric.topology(), (), nodes).groups)
    rings = groups * max(1, nodes * fabric.gpus_per_node // mesh.tensor)
    if rings < mesh.fsdp:
        raise ValueError(
            f"mesh.tensor={mesh.tensor} with mesh.fsdp={mesh.fsdp} needs {mesh.fsdp} rings of "
            f"{nodes} nodes, but fabric.num_nodes={fabric.num_nodes} nodes of "
            f"{fabric.gpus_per_node} GPUs form {rings}; use more nodes or smaller groups."
        )


def _check_split(model: ModelConfig, tensor: int) -> None:
    """Every dimension that a ring splits is a multiple of the ring's size."""
    encoder, decoder = model.encoder, model.decoder
    split = {
        "encoder.heads": encoder.heads, "encoder.width": encoder.width,
        "encoder.hidden": encoder.hidden, "decoder.heads": decoder.heads,
        "decoder.kv_heads": decoder.kv_heads, "decoder.hidden": decoder.hidden,
    }  # fmt: skip
    for name, size in split.items():
        if size % tensor:
            raise ValueError(
                f"model.{name}={size} cannot be split over mesh.tensor={tensor} devices; "
                f"use a multiple of {tensor}, or a smaller ring."
            )


def _never(fault: Fault, plan: FaultPlan, steps: int, save_every: int) -> str | None:
    """Why a run does not come to the moment of a fault; None if it does."""
    if fault.step >= steps:
        return f"the run has steps 0 to {steps - 1}; set steps to more than {fault.step} or move it"
    saved = min((fault.step // save_every + 1) * save_every, steps) - 1
    if fault.moment == "saving" and fault.step != saved:
        return (
            f"with checkpoint.every={save_every} nothing is saved after step {fault.step}; "
            f"move it to step {saved}"
        )
    others = plan.at(fault.step, "before") + plan.at(fault.step, "during")
    if fault.moment == "recovering" and not others:
        return f"no other fault of step {fault.step} has to be recovered from; add one or move it"
    return None
