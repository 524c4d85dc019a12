#!/bin/bash
# A real Slurm on this machine for `make cluster`: munged, slurmctld and two slurmd as nodes n1 and n2 on the loopback interface, as root,
# from Debian's packages, without systemd. Partitions main and, before it and preempting it, urgent. All its files lie under $SLURM_HOME.
#   slurm.sh install | up | controller | node NAME | down
# Clients find it by SLURM_CONF=$SLURM_HOME/slurm.conf. Tried with Slurm 22.05 on Debian 12.
set -euo pipefail
S=${SLURM_HOME:?}
export SLURM_CONF=$S/slurm.conf
P=${SLURM_PORTS:-26800}
node() { mkdir -p "$S/spool/$1"; /usr/sbin/slurmd -f "$SLURM_CONF" -N "$1"; }
case ${1:-up} in
install)
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends slurmctld slurmd slurm-client munge >/dev/null
    ;;
up)
    mkdir -p "$S"/{state,log,run,munge,spool}
    chmod 755 "$S" "$S/run"
    host=$(hostname -s)
    # munged refuses a key or socket in a place that others may write to
    [ -s "$S/munge/munge.key" ] || dd if=/dev/urandom of="$S/munge/munge.key" bs=128 count=1 status=none
    chown -R munge:munge "$S/munge"; chmod 755 "$S/munge"; chmod 400 "$S/munge/munge.key"
    cat > "$SLURM_CONF" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$P
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$S/munge/munge.sock,cred_expire=10
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$S/state
SlurmdSpoolDir=$S/spool/%n
SlurmctldPidFile=$S/run/slurmctld.pid
SlurmdPidFile=$S/run/slurmd-%n.pid
SlurmctldLogFile=$S/log/slurmctld.log
SlurmdLogFile=$S/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
SchedulerType=sched/backfill
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
MinJobAge=600
OverTimeLimit=0
MaxArraySize=10001
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((P + 1)) CPUs=${SLURM_CPUS:-2} RealMemory=4000 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((P + 2)) CPUs=${SLURM_CPUS:-2} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=2
PartitionName=urgent Nodes=n[1-2] MaxTime=INFINITE State=UP PriorityTier=10
CONF
    echo "CgroupAutomount=no" > "$S/cgroup.conf" # read at start even where no plugin uses it
    runuser -u munge -- /usr/sbin/munged --key-file="$S/munge/munge.key" --socket="$S/munge/munge.sock" \
        --pid-file="$S/munge/munged.pid" --log-file="$S/munge/munged.log" --seed-file="$S/munge/seed" --num-threads=2
    /usr/sbin/slurmctld -f "$SLURM_CONF"
    node n1
    node n2
    for _ in $(seq 300); do
        [ "$(sinfo -h -p main -t idle -o %D 2>/dev/null || true)" = 2 ] && exit 0
        sleep 0.1
    done
    sinfo >&2
    exit 1
    ;;
controller) /usr/sbin/slurmctld -f "$SLURM_CONF" ;;
node) node "$2" ;;
down)
    scancel --me 2>/dev/null || true
    sleep 1
    ended=()
    for file in "$S"/run/*.pid "$S"/munge/munged.pid; do
        [ -s "$file" ] || continue
        ended+=("$(cat "$file")")
        kill "${ended[-1]}" 2>/dev/null || true
    done
    # the next to start wants their ports; those that have ended but were not waited for by anybody count as gone
    for pid in "${ended[@]}"; do
        for _ in $(seq 100); do
            state=$(sed -n 's/^State:\s*//p' "/proc/$pid/status" 2>/dev/null || true)
            case $state in '' | Z*) break ;; esac
            sleep 0.1
        done
    done
    ;;
esac
