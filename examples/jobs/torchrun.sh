#!/usr/bin/env bash
# Trains on this machine with several processes, which torchrun starts, and starts again once where one of them dies;
# the run then goes on from its last checkpoint.
#
#   NPROC=4 examples/jobs/torchrun.sh /data/imagenet --config nat_mini.yml --batch-size 32
#
# NPROC     processes, 2 unless said otherwise; each trains on batch_size images a step
# RESTARTS  how often torchrun starts them again
# NATTEN    the command; natten of PATH unless said otherwise
#
# On several machines: in place of --standalone, --nnodes 4 --rdzv-backend c10d --rdzv-endpoint HOST:29400 on each, and
# --output on a file system that all see.
set -euo pipefail
exec torchrun --no-python --standalone --nproc-per-node "${NPROC:-2}" --max-restarts "${RESTARTS:-1}" \
  "${NATTEN:-natten}" train "$@"
