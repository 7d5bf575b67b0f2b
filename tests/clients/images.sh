#!/usr/bin/env bash
# Collects real images in a directory, once: discs, kernels and ramdisks out of Debian packages, and one
# small disk in every format that qemu-img writes. `images.tsv` in it lists what there is, a line each:
# file, format, type, architecture (- where there is none).
#
# usage: images.sh DIRECTORY
set -euo pipefail
shopt -s nullglob

# Counts up when this script makes something else than before.
edition=1

[[ $# -eq 1 ]] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
mkdir -p "$1"
cache=$(cd "$1" && pwd)

exec 9> "$cache/.lock"
flock 9
[[ "$(cat "$cache/.edition" 2>/dev/null)" == "$edition" ]] && exit 0
find "$cache" -mindepth 1 -maxdepth 1 ! -name .lock -exec rm -rf {} +

work=$(mktemp -d "$cache/.work-XXXXXX")
trap 'rm -rf "$work"' EXIT

# unpack PACKAGE: its files, in $work/PACKAGE; nothing is installed.
unpack() {
    (cd "$work" && apt-get download -qq "$1" 2> "$1.log") \
        || { echo "images.sh: apt-get cannot download $1:" >&2; cat "$work/$1.log" >&2; exit 1; }
    local archives=("$work/$1"_*.deb)
    dpkg -x "${archives[0]}" "$work/$1"
    rm "${archives[0]}"
}

# keep SOURCE NAME FORMAT TYPE ARCHITECTURE
keep() {
    mv "$1" "$cache/$2"
    printf '%s\t%s\t%s\t%s\n' "$2" "$3" "$4" "$5" >> "$work/images.tsv"
}

apt-cache show ipxe > /dev/null 2>&1 || "$(dirname "${BASH_SOURCE[0]}")/as-root" apt-get update -qq
# The installer's package carries the number of the Debian release.
installer=$(apt-cache search --names-only '^debian-installer-[0-9]+-netboot-armhf$' | cut -d ' ' -f 1 | sort -V | tail -n 1)
[[ -n "$installer" ]] || { echo "images.sh: apt knows no debian-installer-*-netboot-armhf" >&2; exit 1; }
for package in ipxe memtest86+ grub-rescue-pc "$installer"; do
    unpack "$package"
done
keep "$work/ipxe/usr/lib/ipxe/ipxe.iso" ipxe.iso iso machine x86_64
keep "$work/ipxe/boot/ipxe.lkrn" ipxe.lkrn aki kernel i386
keep "$work/memtest86+/usr/lib/memtest86+/memtest86+x64.iso" memtest86.iso iso machine amd64
keep "$work/grub-rescue-pc/usr/lib/grub-rescue/grub-rescue-floppy.img" grub-floppy.img raw machine i386
netboot=("$work/$installer"/usr/lib/debian-installer/images/*/armhf/text/debian-installer/armhf)
keep "${netboot[0]}/vmlinuz" debian-vmlinuz aki kernel armhf
keep "${netboot[0]}/initrd.gz" debian-initrd.gz ari ramdisk armhf

# A disk with a boot sector, some data, and holes between them.
disk="$work/disk.raw"
truncate -s 24M "$disk"
dd if="$cache/grub-floppy.img" of="$disk" bs=1M conv=notrunc status=none
dd if="$cache/memtest86.iso" of="$disk" bs=1M seek=8 conv=notrunc status=none
# convert NAME FORMAT QEMU-FORMAT [OPTION…]
convert() {
    local name=$1 format=$2 as=$3
    shift 3
    qemu-img convert -q -f raw -O "$as" "$@" "$disk" "$work/$name"
    keep "$work/$name" "$name" "$format" machine x86_64
}
convert disk.qcow2 qcow2 qcow2
convert disk-compressed.qcow2 qcow2 qcow2 -c
convert disk.vmdk vmdk vmdk
convert disk-stream.vmdk vmdk vmdk -o subformat=streamOptimized
convert disk-dynamic.vhd vhd vpc
convert disk-fixed.vhd vhd vpc -o subformat=fixed
convert disk.vdi vdi vdi
convert disk.vhdx vhdx vhdx
convert disk.hdd ploop parallels
tar -C "$cache" -czf "$work/files.tar.gz" ipxe.iso ipxe.lkrn
keep "$work/files.tar.gz" files.tar.gz tar - x86_64
keep "$disk" disk.raw raw machine x86_64

mv "$work/images.tsv" "$cache/images.tsv"
echo "$edition" > "$cache/.edition"
