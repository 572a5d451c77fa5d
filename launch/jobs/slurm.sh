#!/usr/bin/env bash
# @NAME@ on @NODES@ hosts of a SLURM cluster, a node on each:   sbatch --time=1-0 THIS_FILE
# Another sbatch of the same file goes on where the run has stopped, and so does a job that SLURM
# requeues, because its first host was lost or others come first. All hosts share the workdir.
#SBATCH --job-name=@NAME@
#SBATCH --nodes=@NODES@
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --no-kill
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
# --no-kill: a host that is lost does not end the job. --signal: a minute before the time is over
# the run saves, and ends with exit code 130.

cd @FOLDER@
mkdir -p @WORKDIR@/logs
export PYTHON=@PYTHON@
export STEPJAX_KEY=$("$PYTHON" -c 'import secrets; print(secrets.token_hex(32))')
# The name under which this host, the first one, is known to the others; a port for this job.
export STEPJAX_ADDRESS=$(hostname):$((12000 + SLURM_JOB_ID % 20000))

# A node on every host, this one included, with all of its cores. It is started again as often as it
# ends before the run does. SLURM does not give a host back to a running job. SIGTERM is for the
# supervisor, which needs the nodes to save.
srun --overlap --no-kill --kill-on-bad-exit=0 --cpu-bind=none \
  --output=@WORKDIR@/logs/node-%t.log --open-mode=append \
  bash -c 'trap "" TERM
           until "$PYTHON" -m launch.node --address="$STEPJAX_ADDRESS" --node="$SLURM_PROCID"
           do sleep 5; done' &

# The supervisor takes the place of this script: signals reach it, and its end is that of the job.
exec "$PYTHON" -m launch.train @SETTINGS@ @WORKDIR_FLAG@ --address="$STEPJAX_ADDRESS"
