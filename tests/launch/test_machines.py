"""A run whose processes are on several machines, which are network namespaces of this one: each has
an address of its own, none has another's 127.0.0.1, and cables between them can be pulled out.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_run
from tiny_command import ALONE, FAST, LIMIT, ROOT, TINY, start, trajectory

from stepjax.train.jsonl import read

NODES = 4
SUPERVISOR = f"10.77.0.{NODES + 1}:8476"
LONG = ("--config.steps=4000", "--config.checkpoint.every=1000")
SETTINGS = (
    *LONG, "--config.faults=", "--config.fabric.kind=line", f"--config.fabric.num_nodes={NODES}",
)  # fmt: skip
NODE = (
    f"until {sys.executable} -m launch.node --address={SUPERVISOR} --node={{i}}; do sleep 1; done"
)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10)


class Machines:
    """Machines 0, 1 ... of a network, which has a namespace to itself."""

    def __init__(self, count: int):
        self.names = [f"stepjax-{os.getpid()}-{i}" for i in range(count)]
        self.network = f"stepjax-{os.getpid()}"

    def begin(self) -> None:
        ip("netns", "add", self.network)
        ip("-n", self.network, "link", "add", "switch", "type", "bridge")
        ip("-n", self.network, "link", "set", "switch", "up")
        for i, name in enumerate(self.names):
            ip("netns", "add", name)
            cable = ("type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", self.network, "link", "add", f"port{i}", *cable)
            ip("-n", self.network, "link", "set", f"port{i}", "master", "switch", "up")
            ip("-n", name, "addr", "add", f"10.77.0.{i + 1}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")

    def end(self) -> None:
        for name in (*self.names, self.network):
            with contextlib.suppress(subprocess.CalledProcessError):  # it was not made
                for pid in self.processes(name):
                    os.kill(pid, signal.SIGKILL)
                ip("netns", "del", name)

    def plug(self, i: int, state: str) -> None:
        ip("-n", self.network, "link", "set", f"port{i}", state)

    def processes(self, name: str) -> list[int]:
        pids = subprocess.run(["ip", "netns", "pids", name], check=True, capture_output=True)
        return list(map(int, pids.stdout.split()))

    def on(self, i: int, *command: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.names[i], *command)

    def listening(self, i: int) -> set[str]:
        """The hosts of all addresses at which anything listens on a machine."""
        found = subprocess.run(
            self.on(i, "ss", "-Hltn"), check=True, capture_output=True, text=True
        )
        hosts = (line.split()[3].rpartition(":")[0] for line in found.stdout.splitlines())
        return {host.removeprefix("[::ffff:").removesuffix("]") for host in hosts}


@pytest.fixture
def machines() -> Iterator[Machines]:
    if os.getuid() or not shutil.which("ip") or not shutil.which("ss"):
        pytest.skip("network namespaces need root, and iproute2")
    made = Machines(NODES + 1)
    try:
        try:
            made.begin()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"there are no network namespaces here: {error.stderr}")
        yield made
    finally:
        made.end()


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)


def steps(workdir: Path) -> int:
    return len(read(workdir / "metrics.jsonl"))


def interrupted(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, said


@pytest.mark.slow
def test_a_machine_that_is_cut_off_is_left_out_and_taken_in_again(machines, tmp_path):
    """Nothing tells the others of its end, nor the machine of theirs; and nobody can kill there."""
    workdir, environment = tmp_path / "run", FAST | {"STEPJAX_KEY": "of this test and no other"}
    command = machines.on(NODES, *TINY, *SETTINGS, f"--address={SUPERVISOR}")
    supervisor = start(f"--workdir={workdir}", command=command, environment=environment)
    nodes = [
        subprocess.Popen(
            machines.on(i, "bash", "-c", NODE.format(i=i)),
            cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for i in range(NODES)
    ]  # fmt: skip
    until(lambda: steps(workdir) > 3)
    for i in range(NODES + 1):
        assert machines.listening(i) <= {"127.0.0.1", f"10.77.0.{i + 1}"}
    machines.plug(2, "down")
    until(lambda: len(tiny_run.events(workdir, "recovery")) == 1)
    machines.plug(2, "up")
    until(lambda: len(tiny_run.events(workdir, "recovery")) == 2)
    interrupted(supervisor)
    assert [node.wait(timeout=LIMIT) for node in nodes] == [0] * NODES
    lost, back = tiny_run.events(workdir, "recovery")
    assert (lost["lost"], lost["state_from"], lost["steps_lost"]) == ([2], "replica", 0)
    assert back["back"] == [2] and "node 2: it was silent for " in lost["cause"]
    found = trajectory(workdir)
    alone = start(*LONG, f"--workdir={tmp_path}/alone", command=ALONE)
    until(lambda: steps(tmp_path / "alone") > len(found))
    interrupted(alone)
    assert found == trajectory(tmp_path / "alone")[: len(found)]
