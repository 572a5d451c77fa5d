"""Emulated nodes: groups of this process's devices that a FaultPlan takes away and gives back.

Nothing here is a real failure, but the rules of one are kept. A lost node's heart stops, and what
its devices held is deleted, so that nobody can read it by accident. A computation in which it takes
part fails without saying who is missing. A node that comes back does so with empty memory. The
trainer learns of all this as it would on a pod: from its `membership`, or from a step that failed.
"""

import itertools
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from parallel.elastic.membership import Membership
from parallel.elastic.snapshot import shards
from parallel.fabric.faults import Fault, FaultPlan


class NodeFailure(RuntimeError):
    """A computation failed because a node that takes part is gone. It does not know which."""

    def __init__(self, step: int):
        super().__init__(
            f"step {step} failed: a node that takes part is gone; ask the membership which."
        )


class Fired(NamedTuple):
    fault: Fault
    at: float  # seconds since the epoch


class EmulatedCluster:
    """`num_nodes` nodes of `gpus_per_node` devices, whose hearts beat in one thread until `close`.

    `membership` is what a trainer may look at; `lost` and `fired` are the truth, for tests and
    reports. Losing a node deletes its part of every array that lives in this process, whoever made
    it, and of arrays put there later, at the latest when the next step begins.
    """

    def __init__(
        self,
        num_nodes: int,
        gpus_per_node: int,
        plan: FaultPlan,
        heartbeat_s: float = 0.02,
        timeout_s: float = 0.25,
    ):
        plan.check(num_nodes)
        devices, wanted = jax.devices(), num_nodes * gpus_per_node
        if len(devices) < wanted:
            raise ValueError(
                f"{num_nodes} nodes of {gpus_per_node} need {wanted} devices, this process has "
                f"{len(devices)}; set jax_num_cpu_devices to {wanted} before the first use of jax."
            )
        self.devices = {
            node: devices[node * gpus_per_node : (node + 1) * gpus_per_node]
            for node in range(num_nodes)
        }
        self.membership = Membership(num_nodes, timeout_s)
        self.lost: frozenset[int] = frozenset()
        self.fired: list[Fired] = []
        self._plan = plan
        self._node_of = {device: node for node, gpus in self.devices.items() for device in gpus}
        self._torn = weakref.WeakValueDictionary()  # id -> array of which a part was deleted
        self._closing = threading.Event()
        self._beat()
        self._hearts = threading.Thread(
            target=self._beat_on, args=(heartbeat_s,), name="hearts", daemon=True
        )
        self._hearts.start()

    def __enter__(self) -> "EmulatedCluster":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._closing.set()
        self._hearts.join()

    def node_of(self, device: jax.Device) -> int:
        return self._node_of[device]

    def reach(self, step: int, moment: str) -> None:
        """Lets happen what the plan has for this moment; a repeated step does not repeat its
        faults.
        """
        self._fire(step, moment)

    def run(self, fn: Callable, *args: Any, step: int) -> Any:
        """Calls `fn(*args)` as a step of all the nodes that hold a part of its arguments or
        results.

        Raises NodeFailure if one of them is gone, or goes in the middle; then there are no results.
        Arguments are looked at before they are dispatched, because XLA on CPUs crashes on an array
        with deleted parts. Arrays that `fn` closes over are out of sight: pass them.
        """
        self._wipe()
        if any(map(self._is_torn, _arrays(args))):
            raise NodeFailure(step)
        nodes = self._nodes(args)  # now, since the arguments may be donated
        results = fn(*args)
        nodes |= self._nodes(results)
        if self._fire(step, "during"):
            self._await_survivors(results)
        if not nodes.isdisjoint(self.lost):
            raise NodeFailure(step)
        return results

    def check_nothing_on_lost(self) -> None:
        """Asserts that no array of this process holds anything on a lost node."""
        for array, lost_shards in self._on_lost_nodes():
            for shard in lost_shards:
                assert shard.data.is_deleted(), f"{array.aval} still has data on {shard.device}"

    def _fire(self, step: int, moment: str) -> bool:
        """Lets the faults that are due happen, each once; whether there were any."""
        done = {fault for fault, _ in self.fired}
        due = [fault for fault in self._plan.at(step, moment) if fault not in done]
        for kind, faults in itertools.groupby(due, key=lambda fault: fault.kind):
            nodes = frozenset(fault.node for fault in faults)
            if kind == "lose":
                self.lost |= nodes  # all at once: nodes lost together miss the same beats
                self._wipe()
            else:
                self._take_back(nodes & self.lost)  # the moment of a loss may never have come
            self.fired += [Fired(fault, time.time()) for fault in due if fault.kind == kind]
        return bool(due)

    def _take_back(self, nodes: frozenset[int]) -> None:
        alive = self.membership.alive()
        while alive & nodes:  # a node takes longer to start than to be missed
            alive = self.membership.wait_until_changed(
                alive, limit_s=10 + 2 * self.membership.timeout_s
            )
        self._wipe()  # what was put there meanwhile never was
        self.lost -= nodes
        self._beat()

    def _beat(self) -> None:
        self.membership.beat(*(self.devices.keys() - self.lost))

    def _beat_on(self, heartbeat_s: float) -> None:
        while not self._closing.wait(heartbeat_s):
            self._beat()

    def _wipe(self) -> None:
        """Deletes what lies on lost nodes, and remembers the arrays that are torn by it."""
        found = self._on_lost_nodes()
        self._torn.update({id(array): array for array, _ in found})
        for _, lost_shards in found:
            for shard in lost_shards:
                shard.data.delete()

    def _on_lost_nodes(self) -> list[tuple[jax.Array, list[jax.Shard]]]:
        """All arrays of this process that have shards on lost nodes, with those."""
        if not self.lost:
            return []
        lost = {device for node in self.lost for device in self.devices[node]}
        return [
            (array, [shard for shard in shards(array) if shard.device in lost])
            for array in jax.live_arrays()
            if not lost.isdisjoint(array.sharding.device_set)
        ]

    def _is_torn(self, array: jax.Array) -> bool:
        if isinstance(array.dtype, np.dtype):
            return id(array) in self._torn
        # Random keys: it is the array inside that was torn.
        return array.is_deleted() or any(shard.data.is_deleted() for shard in shards(array))

    def _nodes(self, tree: Any) -> set[int]:
        shardings = {array.sharding for array in _arrays(tree)}
        return {
            self._node_of[d]
            for sharding in shardings
            for d in sharding.device_set
            if d in self._node_of
        }

    def _await_survivors(self, tree: Any) -> None:
        for array in _arrays(tree):
            for shard in shards(array):
                if not shard.data.is_deleted():
                    shard.data.block_until_ready()


def _arrays(tree: Any) -> list[jax.Array]:
    return [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
