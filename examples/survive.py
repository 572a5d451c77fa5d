"""A run of one's own that survives: node 1 of 4 is lost in step 3 and comes back before step 6.

$ python -m examples.survive
First the nodes are emulated; then each is a process, and that of node 1 is killed.
"""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from parallel.elastic import EmulatedCluster, Rings, Runtime
from parallel.elastic.processes import Ended, launch
from parallel.fabric import FaultPlan, KHopRing
from parallel.spmd import Layout

RINGS = Rings(KHopRing(4, hops=1), Layout(tensor=2), gpus_per_node=2)
PLAN = FaultPlan().lose(node=1, step=3, moment="during").back(node=1, step=6)
START = np.arange(6, dtype=np.int32)  # the state: a vector, split over each ring


def split(mesh):
    return NamedSharding(mesh, PartitionSpec("tensor"))


def add(mesh):
    """The step, lowered for a mesh: x + sum(x), and the sum for everyone to see."""
    x = jax.ShapeDtypeStruct(START.shape, START.dtype, sharding=split(mesh))
    shardings = split(mesh), NamedSharding(mesh, PartitionSpec())
    return jax.jit(lambda x: (x + x.sum(), x.sum()), out_shardings=shardings).lower(x)


JOB = SimpleNamespace(programs={"add": add}, shapes=START, shardings=split)


def count(cluster):
    """Eight steps on whatever nodes there are; returns their sums."""
    runtime = Runtime(cluster, RINGS, JOB)

    def work(n):
        x, total = runtime.run("add", runtime.state, step=n)
        cluster.commit(n)  # all nodes have come this far: the step counts
        runtime.hold(n + 1, x)
        return int(total)

    n, sums = runtime.start(lambda: (0, START)), {}
    while n < 8:
        cluster.progress(n, "before")
        n, sums[n], _ = runtime.surviving(n, work, lambda: (0, START))
        n += 1
    return sums


def in_each_process(member):
    member.run(JOB, RINGS, lambda cluster: Ended(count(cluster)))


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    with EmulatedCluster(RINGS, PLAN) as emulated:
        print("emulated: ", count(emulated))
    with tempfile.TemporaryDirectory() as folder:
        sums = launch(in_each_process, RINGS, PLAN, Path(folder), START, lambda: (0, START))
        print("processes:", sums)
