#!/bin/sh
# The first process of a guest. Sets it up as the kernel's command line says, then
# runs what the test sends, line by line, and reports how each line ended.
# shellcheck disable=SC2154 # The line's settings are its environment.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for scratch in /tmp /run /mnt /var/lib/nfs; do
    mount -t tmpfs tmpfs "$scratch"
done
mount -t hostfs none /usr/lib/modules -o "$modules"
mount -t hostfs none /usr/local/bin -o "$binaries"
mount -t hostfs none /media -o "$folder"
hostname "$name"
ip link set lo up
for cable in "vec0 $share" "vec1 $front"; do
    # shellcheck disable=SC2086 # A device and its address.
    set -- $cable
    [ "$2" ] || continue
    ip address add "$2/24" dev "$1"
    ip link set "$1" up
done

exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty raw -echo
echo "=== ready"
while read -r line; do
    sh -c "$line" </dev/null
    printf '\n=== %s\n' "$?"
done
# The test is gone.
poweroff -f
