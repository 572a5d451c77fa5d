#!/usr/bin/env bash
# @NAME@ on the @NODES@ hosts of a TPU slice, a node on each:   TPU=NAME ZONE=ZONE bash THIS_FILE
# Every host has a clone of StepJAX in ~/stepjax with its .venv, as its README sets it up, and the
# same file system at @WORKDIR@.
# Not tried on TPUs. The nodes compute on the CPUs of the hosts: worlds of TPU devices are missing
# in parallel/elastic/processes/world.py.
set -euo pipefail

on_host() {  # number of a host, what it does; the secret of the run is read from stdin
  gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker="$1" \
    --command="read -r STEPJAX_KEY; export STEPJAX_KEY; cd stepjax; $2"
}

key=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
address=$(gcloud compute tpus tpu-vm describe "$TPU" --zone="$ZONE" \
  --format='value(networkEndpoints[0].ipAddress)'):8476

# A node is started again as often as it ends before the run does. Should the supervisor end without
# having begun, these loops are left on the hosts, and do no harm: the next run has another key.
for node in {0..@LAST@}; do
  on_host "$node" "until .venv/bin/python -m launch.node --address=$address --node=$node
                   do sleep 5; done" <<<"$key" &
done

# The supervisor, on the first host, where SIGTERM makes it save and end; then the nodes end, too.
# This file, once more, goes on from there.
on_host 0 @SUPERVISE@" --address=$address" <<<"$key"
