#!/usr/bin/env bash
# What happens to tasks on a real Slurm, in CI: where one is installed or can be (root, Debian's packages), else a line that says why not.
#   ci.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/../.."
skip() { echo "tests/cluster: skipped: $1"; exit 0; }
[ "$(id -u)" = 0 ] || skip "a Slurm of the tests' own needs root"
if ! { command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null; then
    command -v apt-get >/dev/null || skip "Slurm is not installed, and this system has no apt-get to install it with"
    # packages may be out of reach: then nothing is lost but a minute
    SLURM_HOME=/tmp timeout 180 tests/cluster/slurm.sh install >/dev/null 2>&1 || skip "Debian's packages of Slurm cannot be installed here"
fi
home=$(mktemp -d /tmp/interp-tui-slurm-try.XXXXXX)
chmod 755 "$home"
up=0
SLURM_HOME=$home timeout 120 tests/cluster/slurm.sh up >"$home/up.log" 2>&1 || up=$?
SLURM_HOME=$home timeout 60 tests/cluster/slurm.sh down >/dev/null 2>&1 || true
why=$(tail -n 1 "$home/up.log")
rm -rf "$home" || true
[ "$up" = 0 ] || skip "Slurm is installed, but does not start here: ${why:-slurm.sh up gave no reason}"
# longer than they take on a busy machine; what they wait for is mostly Slurm's own clock
INTERP_TUI_CLUSTER=short OMP_NUM_THREADS=1 timeout --kill-after=30 900 "$1" -m pytest -q tests/cluster
