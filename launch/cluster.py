"""Writes the job of a run on several machines, to be read and changed before it is handed in.

$ python -m launch.cluster --kind=slurm --config=configs/tiny.py --workdir=runs/tiny > tiny.sh
slurm: a script for sbatch. jobset: a manifest for Kubernetes with JobSet. tpu: a script for a TPU
slice. Each runs `launch.train` with these settings once, and `launch.node` on every machine, for
as many nodes as the config has. The workdir is on a file system that all machines share.
"""

import json
import re
import shlex
import sys
from pathlib import Path

from launch import command

JOBS = Path(__file__).parent / "jobs"
KINDS = {path.stem: path for path in sorted(JOBS.iterdir())}


def main(kind, config, workdir) -> None:
    with command.importing():
        from stepjax.train.check import check
    check(config)
    if kind not in KINDS:
        raise ValueError(f"--kind={kind!r}: one of {', '.join(KINDS)} is wanted.")
    print(job(KINDS[kind], _settings(sys.argv[1:]), config.fabric.num_nodes, workdir), end="")


def job(path: Path, settings: list[str], num_nodes: int, workdir: Path) -> str:
    """The job in the file at `path`, with what stands there between two @ filled in.

    Args:  settings: words of the command line of `launch.train`.
    """
    workdir = workdir.absolute()
    quote, space = (json.dumps, ", ") if path.suffix == ".yaml" else (shlex.quote, " ")
    flag = f"--workdir={workdir}"
    supervise = shlex.join([".venv/bin/python", "-m", "launch.train", *settings, flag])
    values = {
        "NAME": "stepjax-" + re.sub("[^a-z0-9]+", "-", workdir.name.lower())[:30].strip("-"),
        "NODES": str(num_nodes),
        "LAST": str(num_nodes - 1),
        "FOLDER": quote(str(Path.cwd())),
        "PYTHON": quote(sys.executable),
        "SETTINGS": space.join(map(quote, settings)),
        "WORKDIR": quote(str(workdir)),
        "WORKDIR_FLAG": quote(flag),
        "SHARED": quote(str(workdir.parent)),
        "SUPERVISE": shlex.quote(supervise),
    }
    return re.sub("@([A-Z_]+)@", lambda found: values[found[1]], path.read_text())


def _settings(words: list[str]) -> list[str]:
    """The words of a command line that say what is trained."""
    found = [word for word in words if re.match("--?(no)?config", word)]
    for word in found:
        if "=" not in word:
            raise ValueError(f"{word}: write {word}=VALUE, as one word.")
    return found


if __name__ == "__main__":
    command.run(
        main,
        kind=command.Flag("slurm", "Of the cluster: slurm, jobset or tpu."),
        config=command.Flag("configs/quickstart.py", "What to train, and on what."),
        workdir=command.Flag("runs/quickstart", "Where the run goes, on all machines."),
    )
