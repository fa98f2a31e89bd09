#!/bin/bash
# One run of hf-dd over the GPUs of several machines.
#
#   sbatch scripts/slurm/distill.sh distill --config cifar10-dm --mixed_precision bf16 --output_dir outputs/cifar10
#   sbatch --nodes 1 --gres gpu:4 scripts/slurm/distill.sh pretrain --config cifar10-teachers
#
# What stands behind the file goes to `hf-dd`. A job that the time limit ended, or that was put back into the queue, goes on
# by the same line with `--resume_from_checkpoint latest`. Compute nodes often have no network: fill the caches first, on
# the login node (`hf-dd distill … --iterations 1 --eval_students 0` reads all that a run reads), and set HF_HUB_OFFLINE=1.
#SBATCH --job-name=hf-dd
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=64
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.log
#SBATCH --signal=TERM@120
set -euo pipefail

# Here: what this cluster needs, such as `module load cuda` and `source .venv/bin/activate`.

gpus=${HF_DD_PROCESSES_PER_NODE:-${SLURM_GPUS_ON_NODE:-8}}  # one process each
nodes=${SLURM_NNODES:-1}
names=$(scontrol show hostnames "$SLURM_JOB_NODELIST")  # whole: what is cut off by `head` ends with an error
head=${names%%$'\n'*}
export HEAD=$head NODES=$nodes PROCESSES=$((nodes * gpus)) PORT=${MASTER_PORT:-29500}

# Each task is one launch, of one machine; its rank is known to the task alone.
srun --kill-on-bad-exit=1 bash -c '
  if [ "$PROCESSES" -gt 1 ]; then several=--multi_gpu; fi
  exec accelerate launch ${several:-} --num_machines "$NODES" --num_processes "$PROCESSES" \
    --machine_rank "$SLURM_NODEID" --main_process_ip "$HEAD" --main_process_port "$PORT" \
    --rdzv_backend static --mixed_precision no -m hf_dd "$@"' hf-dd "$@"
