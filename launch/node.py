"""One node of a run whose supervisor is on another machine: `launch.train` with the same address.

$ python -m launch.node --address=HOST:PORT --node=0
STEPJAX_KEY in the environment is the secret of the run, the same for all of its processes. What
there is to do comes from the supervisor; the workdir is on a file system that all machines share.
Exit code 0 means that the run has ended. After any other the node was lost, and is taken in again
when this is started again: by a loop, as in what `launch.cluster` writes, or a restart policy.
"""

import os
import signal

from launch import command

PATIENCE_S = 300.0  # until a supervisor must be there: it prepares the data first


def main(address, node) -> None:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads would fight for the cores
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's warnings are about our own settings
    with command.importing():
        from launch import meeting
        from parallel.elastic.processes import take_part
        from stepjax.train import nodes  # noqa: F401  # what comes from the supervisor is of it
    number, supervised = command.number("--node", node), meeting.at(address)
    # Whoever ends all processes of a job asks all at once. The supervisor needs the nodes then: to
    # save what they hold.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    take_part(number, supervised, PATIENCE_S)


if __name__ == "__main__":
    command.run(
        main,
        address=command.Flag("", "HOST:PORT where the supervisor is."),
        node=command.Flag("", "The number of this node, from 0."),
    )
