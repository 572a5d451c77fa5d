"""A ring collective, and what its compiled program sends over which link.

$ python -m examples.collective
Eight emulated nodes, two of them lost. Our all_gather sends to ring neighbours only, so every send
has its circuit; XLA's own would need links that the fabric does not have.
"""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from parallel.fabric import KHopRing, Switchboard, place
from parallel.spmd import AXES, REPLICA_AXES, TENSOR, Layout, all_gather, audit, make_mesh

jax.config.update("jax_num_cpu_devices", 16)
fabric, layout, failed = KHopRing(num_nodes=8, hops=2), Layout(tensor=4), {3, 6}
devices = {node: jax.devices()[2 * node : 2 * node + 2] for node in range(8)}
groups = place(fabric, failed, layout.nodes_per_group(gpus_per_node=2)).groups
board = Switchboard(fabric, gpus_per_node=2)
board.apply(board.switch(groups, failed))
mesh = make_mesh(fabric, groups, layout, devices)


def collectives_of(gather) -> list[audit.Collective]:
    """What the compiled program of `gather` has, by the text of the program."""
    program = jax.shard_map(
        gather, mesh=mesh, in_specs=P(AXES), out_specs=P(REPLICA_AXES), check_vma=False
    )
    compiled = jax.jit(program).lower(jnp.zeros((96, 8))).compile()
    return audit.audit(compiled.as_text(), mesh.shape)


ours = collectives_of(lambda x_block: all_gather(x_block, TENSOR, 0))
xlas = collectives_of(lambda x_block: jax.lax.all_gather(x_block, TENSOR, axis=0, tiled=True))
places = audit.places(mesh, devices)
print("rings of nodes:", *groups)
print(
    "not made of sends to a neighbour: ours", audit.foreign(ours), "XLA's", len(audit.foreign(xlas))
)
print("sends without a circuit:", audit.unlit(ours, places, board.circuits()))
print(audit.table(audit.loads(ours, places)))
