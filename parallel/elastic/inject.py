"""Emulated nodes: groups of this process's devices that a FaultPlan takes away and gives back.

No hardware fails here, but a fault has the consequences of a real one. A lost node sends no more
heartbeats, and the contents of its devices are deleted, so that no code can read them by accident.
A computation that uses a lost node fails without naming it. A node comes back with empty memory.
The trainer learns of faults as it would on a pod: from `membership`, or from a step that failed.
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
    """A computation failed because a node that takes part was lost; the error cannot say which."""

    def __init__(self, step: int):
        super().__init__(
            f"step {step} failed: a node that takes part was lost; ask the membership which."
        )


class Fired(NamedTuple):
    """A fault of the plan that has happened."""

    fault: Fault
    at: float  # seconds since the epoch


class EmulatedCluster:
    """`num_nodes` nodes of `gpus_per_node` devices; a thread sends their heartbeats until `close`.

    A trainer may look at `membership` only; `lost` and `fired` are the truth for tests and reports.
    Losing a node deletes its part of every array of this process, also of arrays that are put there
    later: of those at the latest when the next step begins.
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
        # Arrays of which a part was deleted, by id.
        self._torn: weakref.WeakValueDictionary[int, jax.Array] = weakref.WeakValueDictionary()
        self._closing = threading.Event()
        self._beat()
        self._heartbeats = threading.Thread(
            target=self._keep_beating, args=(heartbeat_s,), name="heartbeats", daemon=True
        )
        self._heartbeats.start()

    def __enter__(self) -> "EmulatedCluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the heartbeats."""
        self._closing.set()
        self._heartbeats.join()

    def node_of(self, device: jax.Device) -> int:
        """The node that `device` belongs to."""
        return self._node_of[device]

    def reach(self, step: int, moment: str) -> None:
        """Lets the faults of this moment happen; a repeated step does not repeat its faults."""
        self._fire(step, moment)

    def run(self, fn: Callable[..., Any], *args: Any, step: int) -> Any:
        """Calls `fn(*args)` as a step of all nodes that hold a part of its arguments or results.

        Arguments are checked before the call, because XLA on CPUs crashes on an array with deleted
        parts. Arrays that `fn` closes over cannot be checked: pass them.

        Raises: NodeFailure if one of these nodes is lost, or gets lost meanwhile.
        """
        self._wipe()
        if any(map(self._is_torn, _arrays(args))):
            raise NodeFailure(step)
        nodes = self._nodes(args)  # before the call, which may donate the arguments
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
        """Lets the faults of this moment happen, each once, and tells whether there were any."""
        done = {fault for fault, _ in self.fired}
        due = [fault for fault in self._plan.at(step, moment) if fault not in done]
        for kind, alike in itertools.groupby(due, key=lambda fault: fault.kind):
            faults = list(alike)
            nodes = frozenset(fault.node for fault in faults)
            match kind:
                case "lose":
                    self.lost |= nodes  # all at once: nodes lost together miss the same heartbeats
                    self._wipe()
                case "back":
                    self._take_back(nodes & self.lost)  # the moment of a loss may never have come
                case _:
                    raise AssertionError(f"a fault of kind {kind!r} cannot be emulated.")
            self.fired += [Fired(fault, time.time()) for fault in faults]
        return bool(due)

    def _take_back(self, nodes: frozenset[int]) -> None:
        """Starts `nodes` again, once the membership knows that they were lost."""
        limit_s = 10 + 2 * self.membership.timeout_s
        members = self.membership.members()
        while members.nodes & nodes:
            members = self.membership.wait_until_changed(members, limit_s)
        self._wipe()  # deletes what was put on them meanwhile
        self.lost -= nodes
        self._beat()

    def _beat(self) -> None:
        self.membership.beat(*(self.devices.keys() - self.lost))

    def _keep_beating(self, heartbeat_s: float) -> None:
        while not self._closing.wait(heartbeat_s):
            self._beat()

    def _wipe(self) -> None:
        """Deletes what lies on lost nodes, and remembers the arrays that lose a part by it."""
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
        # Of random keys, the array inside is what was torn.
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
