#!/bin/busybox sh
# The first and only program of the guest: makes a small system, runs the suites, powers off.
# Lines that begin with `@@` are for xtask/src/vm/console.rs.
export PATH=/bin:/applets HOME=/root TERM=dumb
# Whatever cannot run here fails.
export CI=true MITIGATOR_VM=1 MITIGATOR_BINARY=/bin/mitigator

/bin/busybox mkdir -p /applets /sys /proc
/bin/busybox --install -s /applets
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
ln -s /run /var/run
dmesg -n 1
# Kernels before 5.11 charge maps to this limit.
ulimit -l unlimited

insert() { insmod "/modules/$1.ko" || echo "@@ problem the module $1 does not load"; }
run_suite() {
    suite=$1
    shift
    echo "@@ begin $suite"
    "/suites/$suite" "$@" </dev/null 2>&1
    echo "@@ end $suite $?"
}

echo "@@ booted $(uname -r)"
@INSERT_MODULES@
/bin/ip link set lo up
# The virtio network card.
/bin/ip link set eth0 up || echo "@@ problem there is no eth0"
@RUN_SUITES@
echo "@@ done"
poweroff -f
