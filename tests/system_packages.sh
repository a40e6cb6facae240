#!/usr/bin/env bash
# Installs what some tests need from the distribution; does nothing where it is there or can't be.
# Tests whose program is missing are skipped and say so.
set -u
need=""
command -v chromium >/dev/null || command -v google-chrome >/dev/null || need="$need chromium"
command -v sbatch >/dev/null && command -v munged >/dev/null || need="$need slurmctld slurmd slurm-client munge"
[ -z "$need" ] && exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "not installed (needs root and apt-get):$need; tests that need them are skipped"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends $need >/dev/null \
  || echo "could not install:$need; tests that need them are skipped"
exit 0
