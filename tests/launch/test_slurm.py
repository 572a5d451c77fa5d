"""A job that `launch.cluster` has written, on a real SLURM: four slurmd's on this machine, of which
one dies as its host would.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_run
from tiny_command import ALONE, FAST, LIMIT, ROOT, run, trajectory

from stepjax.train.jsonl import read

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
MISSING = [name for name in PROGRAMS if not shutil.which(name)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
NODES, STEPS = 4, "--config.steps=16"
SETTINGS = (
    "--config=configs/tiny.py", "--config.faults=", "--config.fabric.kind=line",
    f"--config.fabric.num_nodes={NODES}", STEPS,
)  # fmt: skip
CONF = """\
ClusterName=stepjax
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
KillWait=5
InactiveLimit=0
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MailProg=/bin/true
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=1000\n"


class Slurm:
    """A cluster of one's own, on 127.0.0.1. Whatever belongs to it has its SLURM_CONF."""

    def __init__(self, folder: Path):
        self.folder, conf = folder, folder / "slurm.conf"
        # Not what this machine calls itself, by which it might be reached from outside.
        program = folder / "bin/hostname"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho 127.0.0.1\n")
        program.chmod(0o755)
        self.environment = FAST | {
            "SLURM_CONF": str(conf), "PATH": f"{program.parent}:{os.environ['PATH']}",
        }  # fmt: skip
        host, ports = socket.gethostname().split(".")[0], free_ports(1 + NODES)
        values = {"host": host, "ports": ports, "user": getpass.getuser(), "folder": folder}
        nodes = [NODE.format(i=i, host=host, port=ports[1 + i]) for i in range(NODES)]
        *lines, partition = CONF.format(**values).splitlines(keepends=True)
        conf.write_text("".join([*lines, *nodes, partition]))

    def begin(self) -> None:
        munge = self.folder / "munge"
        munge.mkdir(mode=0o755)
        (self.folder / "state").mkdir()
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o600)
        names = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log"}
        options = [f"--{option}={munge / name}" for option, name in names.items()]
        self.ask("munged", "--force", f"--seed-file={munge / 'seed'}", *options)
        self.ask("slurmctld")
        for i in range(NODES):
            (self.folder / f"spool-n{i}").mkdir()
            self.ask("slurmd", "-N", f"n{i}")
        until(lambda: self.ask("sinfo", "-h", "-o", "%D %t").split() == [str(NODES), "idle"], 30)

    def end(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.ask("scancel", "--user", getpass.getuser())
            until(lambda: not self.ask("squeue", "-h"), 20)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self.processes(), 10)

    def ask(self, *command: str) -> str:
        done = subprocess.run(
            command,
            env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def processes(self, node: str = "") -> list[int]:
        """Those of the cluster, or those of a node: its daemons and what they have started."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                environment = (path / "environ").read_bytes().split(b"\0")
                mine = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode() in environment
                if mine and (not node or f"SLURMD_NODENAME={node}".encode() in environment):
                    found.append(int(path.name))
        return found

    def kill(self, node: str) -> None:
        """What the end of a host does to its processes, and then what SLURM hears of it."""
        daemon = int((self.folder / f"slurmd-{node}.pid").read_text())
        for pid in (daemon, *self.processes(node)):
            os.kill(pid, signal.SIGKILL)
        self.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in found]


def until(what: Callable[[], bool], limit: float) -> None:
    end = time.monotonic() + limit
    while not what():
        assert time.monotonic() < end, f"not within {limit} s"
        time.sleep(0.2)


@pytest.fixture
def slurm(tmp_path) -> Iterator[Slurm]:
    (tmp_path / "slurm").mkdir()
    cluster = Slurm(tmp_path / "slurm")
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.end()


class Job:
    """A run on the cluster, handed in as its users do."""

    def __init__(self, slurm: Slurm, workdir: Path):
        self.slurm, self.workdir = slurm, workdir
        self.file = slurm.folder / "job.sh"
        written = subprocess.run(
            [sys.executable, "-m", "launch.cluster", *SETTINGS, f"--workdir={workdir}"],
            cwd=ROOT, env=FAST, check=True, stdout=subprocess.PIPE, timeout=LIMIT,
        )  # fmt: skip
        self.file.write_bytes(written.stdout)
        self.submit()

    def submit(self) -> None:
        self.number = self.slurm.ask("sbatch", "--parsable", str(self.file)).strip()

    def is_in_the_middle(self) -> bool:
        assert self._facts()["JobState"] in ("PENDING", "RUNNING"), self.said()
        return len(read(self.workdir / "metrics.jsonl")) > 3

    def end(self) -> tuple[str, str]:
        """The state and the exit code with which it ends by itself."""
        until(lambda: self._facts()["JobState"] not in ("RUNNING", "PENDING"), LIMIT)
        return self._facts()["JobState"], self._facts()["ExitCode"]

    def said(self) -> str:
        return (self.slurm.folder / f"slurm-{self.number}.out").read_text()

    def _facts(self) -> dict[str, str]:
        words = self.slurm.ask("scontrol", "show", "job", self.number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


@pytest.fixture
def job(slurm, tmp_path) -> Job:
    """One that has done some steps."""
    found = Job(slurm, tmp_path / "run")
    until(found.is_in_the_middle, LIMIT)
    return found


@pytest.fixture(scope="module")
def emulated(tmp_path_factory) -> list[tuple]:
    """What the same run comes to in one process, on one ring, without faults."""
    workdir = tmp_path_factory.mktemp("emulated")
    done = run(STEPS, f"--workdir={workdir}", command=ALONE)
    assert done.returncode == 0, done.stderr
    return trajectory(workdir)


def test_a_host_dies_and_the_job_ends_with_the_losses_of_emulated_nodes(job, emulated):
    job.slurm.kill("n2")
    assert job.end() == ("COMPLETED", "0:0"), job.said()
    (recovery,) = tiny_run.events(job.workdir, "recovery")
    assert recovery["lost"] == [2] and recovery["state_from"] == "replica"
    assert trajectory(job.workdir) == emulated


def test_a_job_that_is_told_to_end_saves_and_the_same_file_goes_on(job, emulated):
    """SLURM tells the nodes, which it may do to make room, and the script, before its time is over.
    The nodes leave it to the supervisor, which needs them to save.
    """
    job.slurm.ask("scancel", "--signal=TERM", job.number)
    job.slurm.ask("scancel", "--batch", "--signal=TERM", job.number)
    assert job.end() == ("FAILED", "130:0"), job.said()
    assert "the same command goes on from here" in job.said()
    job.submit()
    assert job.end() == ("COMPLETED", "0:0"), job.said()
    assert trajectory(job.workdir) == emulated


def test_a_job_that_is_requeued_goes_on(job, emulated):
    """By its owner here, or by SLURM when its first host is lost. It begins after two minutes."""
    job.slurm.ask("scontrol", "requeue", job.number)
    until(lambda: job.end() == ("COMPLETED", "0:0"), LIMIT)
    assert trajectory(job.workdir) == emulated
