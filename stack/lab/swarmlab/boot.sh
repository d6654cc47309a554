#!/bin/sh
# Turn the new namespaces that `unshare` has just made into a small machine, then be its first process (rooms.py calls this).
#
#   boot.sh ENGINE DISK SEEN NAME RESOLVER? [FROM:TO ...]
#
# ENGINE   the root file system that all rooms share, read only below an overlay
# DISK     this room's own folder: what it writes (root), and mounts for it alone
# SEEN     a folder of the machine that the room sees as /outside: its way to hand out sockets, logs and its pid
# RESOLVER? yes: names are looked up as on the machine; no: a node, which knows no resolver
#
# Every mount here is in the room's own mount namespace, so the end of the room's processes ends the mounts as well: a crash
# leaves nothing to unmount. pivot_root rather than chroot, because `docker load` and pulls remount "/" and fail in a chroot.
set -eu
read -r pid _ </proc/self/stat # /proc is still the machine's here, so this is the pid by which the machine knows us
engine=$1 disk=$2 seen=$3 name=$4 resolver=$5
shift 5

mount --make-rprivate /
mkdir -p "$disk/upper" "$disk/work" "$disk/root"
mount -t overlay overlay -o "lowerdir=$engine,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"
cd "$disk/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount --bind /dev dev
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t mqueue mqueue dev/mqueue 2>/dev/null || mkdir -p tmp # an optional file system of the kernel
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p outside run/lock
mount --bind "$seen" outside
for pair in "$@"; do
    mkdir -p "${pair%%:*}" "./${pair#*:}"
    mount --bind "${pair%%:*}" "./${pair#*:}"
done

rm -f etc/resolv.conf
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >etc/hosts
if [ "$resolver" = yes ]; then
    cat /etc/resolv.conf >etc/resolv.conf
    cat /etc/hosts >etc/hosts
else
    # Nobody listens there: a look-up fails at once instead of after ten seconds, which each start of a task would wait for.
    printf 'nameserver 127.0.0.1\n' >etc/resolv.conf
fi
echo "$name" >etc/hostname
echo "$name" >proc/sys/kernel/hostname

mkdir -p run/old
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
echo "$pid" >/outside/init.pid.new
mv /outside/init.pid.new /outside/init.pid # from here on the room is open
exec /usr/bin/tini -s -- sleep infinity
