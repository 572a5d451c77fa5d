"""Processes outlive their worlds: whoever is lost, the others leave and form the next one."""

import json
import os
import pathlib
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import world_member
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.elastic.processes.world import Service, free, leave
from parallel.spmd.executables import Program
from parallel.spmd.mesh import AXES, stand_in

ROOT = pathlib.Path(__file__).parents[4]
LIMIT_S = 30  # for anything that should come at once


class Member:
    """A process that joins worlds; see world_member.py."""

    def __init__(self, log):
        self.log = log
        with open(log, "w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", world_member.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
            )
        self.answers = {}
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            name, said = json.loads(line)
            self._queue(name).put(said)

    def _queue(self, name):
        return self.answers.setdefault(name, queue.Queue())

    def tell(self, *command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self, name, limit_s=LIMIT_S):
        try:
            return self._queue(name).get(timeout=limit_s)
        except queue.Empty:
            log = pathlib.Path(self.log).read_text()
            raise TimeoutError(f"{name}: exit {self.process.poll()}\n{log[-3000:]}") from None

    def ask(self, *command):
        self.tell(*command)
        said = self.answer(command[0])
        assert "result" in said, said
        return said["result"]

    def is_waiting(self, name):
        """Whether the answer does not come by itself."""
        try:
            return not self.answer(name, limit_s=0.3)
        except TimeoutError:
            return self.process.poll() is None

    def end(self):
        self.process.kill()
        self.process.wait(timeout=LIMIT_S)
        self.reader.join(timeout=LIMIT_S)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path):
    """Starts processes, and ends all of them with the test."""
    members = []

    def start_some(count):
        members.extend(Member(tmp_path / f"{len(members) + i}.log") for i in range(count))
        return members[-count:]

    yield start_some
    for member in members:
        member.end()


def every(members, *command):
    """What all say to one command."""
    for member in members:
        member.tell(*command)
    said = [member.answer(command[0]) for member in members]
    assert all("result" in x for x in said), said
    return [x["result"] for x in said]


def meet(members, address):
    """All join the world at `address`."""
    for rank, member in enumerate(members):
        member.tell("join", address, rank, len(members))
    ids = [[2048 * rank, 2048 * rank + 1] for rank in range(len(members))]
    assert [member.answer("join").get("result") for member in members] == [ids] * len(members)


def freed(members, name, address):
    """How long the calls take to raise after the word."""
    assert all(member.is_waiting(name) for member in members)
    begin = time.perf_counter()
    for member in members:
        member.tell("free", address)
    said = [member.answer(name) for member in members]
    seconds = time.perf_counter() - begin
    assert all("error" in x for x in said), said
    assert all("result" in member.answer("free") for member in members)
    return seconds


def sum_of(mesh):
    """A program with collectives between all devices and between neighbours."""

    def on_device(x_block):
        size = mesh.shape["data"]
        ring = [(i, (i + 1) % size) for i in range(size)]
        return jnp.sin(x_block) + jax.lax.ppermute(jax.lax.psum(x_block, "tensor"), "data", ring)

    run = jax.shard_map(on_device, mesh=mesh, in_specs=P(AXES), out_specs=P(AXES))
    sharding = NamedSharding(mesh, P(AXES))
    return jax.jit(run).lower(jax.ShapeDtypeStruct((mesh.size,), jnp.float32, sharding=sharding))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A program for two ranks of two devices, compiled here, in a file; and what it computes."""
    program = Program(sum_of, jax.devices())
    path = tmp_path_factory.mktemp("programs") / "sum"
    path.write_bytes(pickle.dumps(program.prepare((2, 1, 2))))
    mesh = stand_in((2, 1, 2), jax.devices())
    x = jax.device_put(np.arange(4, dtype=np.float32), NamedSharding(mesh, P(AXES)))
    return str(path), np.asarray(program.on(mesh)(x)).reshape(2, 2, 1).tolist()


@pytest.fixture
def service():
    """Makes services, and closes all of them with the test."""
    services = []

    def make(num_ranks, **options):
        services.append(Service(num_ranks, **options))
        return services[-1].address

    yield make
    for made in services:
        made.close()


@pytest.mark.parametrize("connected", [True, False], ids=["in a step", "while connecting"])
@pytest.mark.parametrize("lost", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_two_of_three_go_on_without_the_third(start, service, compiled, lost, connected):
    members, address = start(3), service(3)
    meet(members, address)
    if connected:
        assert every(members, "step") == [15.0] * 3
    *others, third = members
    third.process.send_signal(lost)
    for member in others:
        member.tell("step")
    if lost == signal.SIGSTOP or not connected:
        assert freed(others, "step", address) < 1  # milliseconds, on a machine with idle cores
    else:  # who talks to the killed process itself may notice before the word
        for member in others:
            member.tell("free", address)
        assert all("error" in member.answer("step") for member in others)
    every(others, "leave")
    meet(others, service(2))
    path, wanted = compiled
    assert every(others, "run", path) == wanted


@pytest.mark.parametrize("delay_s", [0.02, 0.025, 0.03, 0.04])
def test_who_is_lost_while_connections_are_opened_holds_nobody(start, service, delay_s):
    """Some die before gloo has connected, some between two connections, some after that."""
    members, address = start(3), service(3)
    meet(members, address)
    every(members, "step", ["tensor"])  # so that the next step is soon there
    *others, third = members
    for member in members:
        member.tell("step")
    time.sleep(delay_s)
    third.process.kill()
    time.sleep(0.1)
    for member in others:
        member.tell("free", address)
    for member in others:
        member.answer("step")
    every(others, "leave")
    meet(others, service(2))
    assert every(others, "step") == [6.0] * 2


@pytest.mark.parametrize("lost", [None, signal.SIGKILL, signal.SIGSTOP])
def test_a_process_may_end_in_a_world(start, lost):
    *members, supervisor = start(3)
    meet(members, supervisor.ask("serve", 2))
    assert every(members, "step") == [6.0] * 2
    if lost:
        supervisor.process.send_signal(lost)
    for member in members:
        member.process.stdin.close()
    assert [member.process.wait(timeout=LIMIT_S) for member in members] == [0, 0]


def test_members_do_not_notice_that_the_service_is_killed(start, service):
    *members, supervisor = start(3)
    meet(members, supervisor.ask("serve", 2))
    assert every(members, "step") == [6.0] * 2
    supervisor.end()
    time.sleep(0.5)  # for a client that ends its process
    assert every(members, "step") == [6.0] * 2
    every(members, "leave")
    meet(members[::-1], service(2))
    assert every(members, "step") == [6.0] * 2


@pytest.mark.parametrize("lost", ["killed", "stopped", "closed"])
def test_what_needs_a_lost_service_can_be_given_up(start, service, lost):
    """The first step asks the service for the others' addresses."""
    *members, supervisor = start(3)
    address = supervisor.ask("serve", 2)
    meet(members, address)
    if lost == "closed":
        supervisor.ask("close")
    else:
        kill = signal.SIGKILL if lost == "killed" else signal.SIGSTOP
        supervisor.process.send_signal(kill)
    for member in members:
        member.tell("step")
    assert freed(members, "step", address) < 4
    every(members, "leave")
    meet(members, service(2))
    assert every(members, "step") == [6.0] * 2


def test_members_of_several_machines_listen_where_they_are_told_and_nowhere_else(start, service):
    """All of 127.0.0.0/8 leads to this machine, and each address stands for one."""
    members, address = start(2), service(2, host="127.0.0.4")
    assert address.startswith("127.0.0.4:")
    for rank, member in enumerate(members):
        member.tell("join", address, rank, 2, 2, 20, f"127.0.0.{rank + 2}")
    assert all("result" in member.answer("join") for member in members)
    assert every(members, "step") == [6.0] * 2
    relay = "127.0.0.1"  # of JAX's client, within each process
    assert every(members, "hosts") == [[relay, "127.0.0.2"], [relay, "127.0.0.3"]]


def test_a_world_that_does_not_become_complete_can_be_given_up(start, service):
    (member,) = start(1)
    member.tell("join", service(2), 0, 2, 2, 1.0)
    said = member.answer("join")
    assert said["error"] == "TimeoutError" and "rank 0 of 2" in said["message"]
    address = service(2)
    member.tell("join", address, 0, 2)
    assert freed([member], "join", address) < 1
    supervisor = Service(2)
    supervisor.close()
    member.tell("join", supervisor.address, 0, 2, 2, 1.0)
    assert member.answer("join")["error"] == "TimeoutError"
    meet([member], service(1))
    assert member.ask("step") == 1.0


def test_twenty_worlds_leave_nothing_behind(start, service):
    members = start(2)
    for generation in range(20):
        meet(members[:: 1 - 2 * (generation % 2)], service(2))
        assert every(members, "step") == [6.0] * 2
        every(members, "leave")
        if generation == 4:
            early = settled_sizes(members)
    for was, size in zip(early, settled_sizes(members), strict=True):
        assert size[0] <= was[0] and size[1] <= was[1], "threads or files were left"
        assert size[2] < was[2] + 30, "megabytes were left"


def settled_sizes(members):
    """The least that was seen within a second: threads of a world that was left end by themselves.

    Returns: threads, open files, megabytes; of every member.
    """
    seen = []
    for _ in range(10):
        time.sleep(0.1)
        seen.append(every(members, "size"))
    return np.min(seen, axis=0).tolist()


def test_a_stopped_process_that_wakes_joins_the_next_world(start, service):
    members, address = start(3), service(3)
    meet(members, address)
    assert every(members, "step") == [15.0] * 3
    *others, third = members
    third.process.send_signal(signal.SIGSTOP)
    for member in others:
        member.tell("step")
    freed(others, "step", address)
    every(others, "leave")
    meet(others, service(2))
    assert every(others, "step") == [6.0] * 2
    third.process.send_signal(signal.SIGCONT)
    third.tell("step")
    assert "error" in third.answer("step")
    every(members, "leave")
    meet(members, service(3))
    assert every(members, "step") == [15.0] * 3


def test_a_process_may_be_alone_in_its_world_and_change_its_number_of_devices(start, service):
    (member,) = start(1)
    for local_devices in (1, 4):
        ids = member.ask("join", service(1), 0, 1, local_devices)
        assert ids == [list(range(local_devices))]
        assert member.ask("step") == sum(range(local_devices))
        member.ask("leave")


def test_sockets_of_others_stay_open(start, service):
    members = start(2)
    address = service(2)
    meet(members, address)
    assert every(members, "talk") == [True] * 2
    every(members, "step")
    for _ in range(20):  # however often
        every(members, "free", address)
    assert every(members, "talk") == [True] * 2
    every(members, "leave")
    assert all(files < 20 for _, files, _ in settled_sizes(members))


def test_in_no_world_there_is_nothing_to_free_or_leave():
    free("127.0.0.1:1")
    leave()
    assert jax.devices()  # the back end of this process stays
