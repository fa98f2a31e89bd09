#!/bin/bash
# A study whose cells are shared out among the jobs of an array, one GPU each.
#
#   sbatch scripts/slurm/study.sh study.yaml --output_dir outputs/study
#   sbatch --array=0-15%4 scripts/slurm/study.sh study.yaml --output_dir outputs/study
#
# All jobs get the same folder, on a disk that they share: each takes cells that no other one has, and what is there is
# kept. The same line goes on with what a time limit left undone; the last job to end writes the report.
#SBATCH --job-name=hf-dd-study
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --output=%x-%A-%a.log
#SBATCH --signal=B:TERM@120
set -euo pipefail

# Here: what this cluster needs, such as `module load cuda` and `source .venv/bin/activate`.

exec hf-dd study "$@"
