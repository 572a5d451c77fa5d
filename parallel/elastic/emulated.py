"""Emulated nodes: groups of this process's devices that a FaultPlan takes away and gives back.

No hardware fails here, but a fault has the consequences of a real one. A lost node sends no more
heartbeats, and the contents of its devices are deleted, so that no code can read them by accident.
A computation that uses a lost node fails without naming it. A node comes back with empty memory.
A run learns of faults as it would on a pod: from the membership, or from a step that failed.
"""

import itertools
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from parallel.elastic import recovery, snapshot
from parallel.elastic.cluster import GoBack, Lower, NodeFailure, Rebuilt
from parallel.elastic.formation import Generation, Rings, Stopwatch
from parallel.elastic.membership import Members, Membership
from parallel.elastic.snapshot import Snapshot, shards
from parallel.fabric.faults import Fault, FaultPlan
from parallel.spmd.executables import Kept, Program


def check_emulable(plan: FaultPlan) -> None:
    """Raises ValueError for a plan with failures that only processes can act out."""
    for fault in plan.faults:
        if not fault.asked:
            raise ValueError(
                f"'{fault}': an emulated node has no process that can {fault.kind}; write "
                f"'lose {fault.node} {fault.moment} {fault.step}', or run each node as a process."
            )


class EmulatedCluster:
    """The nodes of `rings`, as groups of this process's devices; a thread sends their heartbeats.

    A run may look at `membership` only; `lost` is the truth for tests. Losing a node deletes its
    part of every array of this process, also of arrays that are put there later: of those at the
    latest when the next step begins.

    Args:
      on_fault: is told each fault of the plan that has happened.
      limit_s: how long to wait for the membership after a step failed.
      programs: a folder in which compiled programs lie, and stay.
    """

    def __init__(
        self,
        rings: Rings,
        plan: FaultPlan,
        on_fault: Callable[[Fault], None] = lambda fault: None,
        heartbeat_s: float = 0.02,
        timeout_s: float = 0.25,
        limit_s: float = 10.0,
        programs: Path | None = None,
    ):
        num_nodes, gpus_per_node = rings.topology.num_nodes, rings.gpus_per_node
        plan.check(num_nodes)
        check_emulable(plan)
        devices, wanted = jax.devices(), num_nodes * gpus_per_node
        if len(devices) < wanted:
            raise ValueError(
                f"{num_nodes} nodes of {gpus_per_node} need {wanted} devices, this process has "
                f"{len(devices)}; set jax_num_cpu_devices to {wanted} before the first use of jax."
            )
        self.rings = rings
        self.devices = {
            node: devices[node * gpus_per_node : (node + 1) * gpus_per_node]
            for node in range(num_nodes)
        }
        self.membership = Membership(num_nodes, timeout_s)
        self.lost: frozenset[int] = frozenset()
        self._plan = plan
        self._on_fault = on_fault
        self._limit_s, self._programs = limit_s, programs
        self._fired: set[Fault] = set()
        self._held: tuple[int, Any, Snapshot | None] | None = None
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

    def program(self, name: str, lower: Lower) -> Program:
        """See Cluster. It is compiled in this process, against the first of its devices."""
        devices = [device for gpus in self.devices.values() for device in gpus]
        if self._programs is None:
            return Program(lower, devices)
        return Kept(lower, devices, self._programs, name)

    def changed(self, now: Generation) -> bool:
        """See Cluster."""
        return self.membership.members().epoch != now.members.epoch

    def next(self, now: Generation | None, after_failure: bool, watch: Stopwatch) -> Generation:
        """See Cluster."""
        members = self.membership.members()
        if now is not None and after_failure and members.epoch == now.members.epoch:
            members = self.membership.wait_until_changed(now.members, self._limit_s)
        watch.lap("notice")
        generation = self.rings.mesh(self.rings.form(now, members, watch), self.devices)
        watch.lap("mesh")
        return generation

    def hold(self, step: int, tree: Any, generation: Generation) -> None:
        """See Cluster. Where a part has no replica, a ring neighbour keeps a copy of it."""
        copies = None
        if snapshot.replicas(tree, self.node_of) < 2:
            keepers = snapshot.keepers(generation.placement.groups)
            copies = snapshot.keep(tree, keepers, self.devices, step)
        self._held = step, tree, copies

    def rebuild(self, generation: Generation, shardings: Any, go_back: GoBack) -> Rebuilt:
        """See Cluster."""
        if self._held is not None:
            step, tree, copies = self._held
            lost = self._devices_without(generation.members)
            if recovery.covers(tree, lost):
                return Rebuilt(step, recovery.reassemble(tree, shardings, lost), "replica")
            if recovery.covers(tree, lost, copies):
                whole = recovery.reassemble(tree, shardings, lost, copies)
                return Rebuilt(step, whole, "neighbour")
        self._held = None
        step, on_host = go_back()
        return Rebuilt(step, jax.tree.map(jax.device_put, on_host, shardings), "checkpoint")

    def whole(self) -> Any:
        """See Cluster."""
        members = self.membership.members()
        if self._held is None or not members.nodes:
            return None
        _, tree, copies = self._held
        lost = self._devices_without(members)
        if not recovery.covers(tree, lost, copies):
            return None
        one = jax.sharding.SingleDeviceSharding(self.devices[min(members.nodes)][0])
        whole = recovery.reassemble(tree, jax.tree.map(lambda _: one, tree), lost, copies)
        return jax.device_get(whole)

    def commit(self, step: int, change: Any = None) -> None:
        """See Cluster: one process has done what its one program has done."""

    def progress(self, step: int, moment: str) -> None:
        """Lets the faults of this moment happen; a repeated step does not repeat its faults."""
        self._fire(step, moment)

    def run(self, fn: Callable[..., Any], *args: Any, step: int) -> Any:
        """See Cluster: `fn` is a step of all nodes that hold a part of its arguments or results.

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
        due = [fault for fault in self._plan.at(step, moment) if fault not in self._fired]
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
                    raise AssertionError(f"{kind!r} should have been refused.")
            self._fired.update(faults)
            for fault in faults:
                self._on_fault(fault)
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

    def _devices_without(self, members: Members) -> list[jax.Device]:
        """The devices of all nodes that are not alive."""
        return [
            device
            for node, gpus in self.devices.items()
            if node not in members.nodes
            for device in gpus
        ]

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
