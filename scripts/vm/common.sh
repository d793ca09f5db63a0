# Shared by the scripts of this folder: sourced, never run.
#
# Debian's own kernels are fetched with apt and unpacked (never installed) into a cache, so that kernel modules can be built
# and tested on a machine that cannot load any.
#
#   RTPE_VM_CACHE  where kernels and the base of the guest are kept (default: rtpe-vm in the user's cache directory)
set -euo pipefail

vm_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vm_cache=${RTPE_VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/rtpe-vm}
vm_lock=${RTPE_APT_LOCK:-/tmp/apt.lock}
mkdir -p "$vm_cache/kernels" "$vm_cache/debs"

say() { printf 'vm: %s\n' "$*" >&2; }
# 125: the rig itself failed. 77: there is no way to get a kernel here.
die() { say "error: $*"; exit 125; }
no_kernel() { say "no kernel: $*"; exit 77; }

apt_get() { flock "$vm_lock" apt-get -qq -o APT::Sandbox::User=root "$@" </dev/null; }

depends_of() {
    apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$1" |
        sed -n 's/^  *Depends: \([^<].*\)$/\1/p'
}

# 6.1-cloud, 6.1: Debian 12's own. 6.12-cloud, 6.12: its backports, or Debian 13's own.
meta_of() { # image|headers NAME
    case $2 in
        6.1-cloud) echo "linux-$1-cloud-amd64" ;;
        6.1) echo "linux-$1-amd64" ;;
        *) echo "linux-$1-$2-amd64" ;;
    esac
}

# Fetches the kernel NAME if it is not in the cache; sets k_root, k_version, k_image, k_build, k_modules.
need_kernel() {
    local name=$1
    k_root=$vm_cache/kernels/$name
    exec 9>"$vm_cache/kernels/$name.lock"
    flock 9
    [[ -e $k_root/.complete ]] || fetch_kernel "$name"
    exec 9>&-
    k_version=$(<"$k_root/.abi")
    k_image=$k_root/boot/vmlinuz-$k_version
    k_build=$k_root/usr/src/$(<"$k_root/.hdr")
    k_modules=$k_root/lib/modules/$k_version
}

fetch_kernel() {
    local name=$1 image headers common kbuild version package
    image=$(meta_of image "$name") headers=$(meta_of headers "$name")
    # A package that is known but gone from the archive means that the lists are old.
    [[ -n $(apt-cache search --names-only "^$image\$") ]] || apt_get update >/dev/null 2>&1 || true
    for attempt in known fresh; do
        [[ $attempt == known ]] || apt_get update >/dev/null 2>&1 || no_kernel "apt-get update failed"
        image=$(depends_of "$(meta_of image "$name")" | grep -m1 '^linux-image-[0-9]') || continue
        headers=$(depends_of "$(meta_of headers "$name")" | grep -m1 '^linux-headers-[0-9]') || continue
        common=$(depends_of "$headers" | grep -m1 '^linux-headers-.*-common') || continue
        kbuild=$(depends_of "$headers" | grep -m1 '^linux-kbuild-') || continue
        version=${image#linux-image-}
        say "fetching $image"
        rm -rf "$vm_cache/debs/$name"
        mkdir -p "$vm_cache/debs/$name"
        (cd "$vm_cache/debs/$name" && apt_get download "$image" "$headers" "$common" "$kbuild" >/dev/null 2>&1) && break
        image=
    done
    [[ ${image:-} == linux-image-[0-9]* && -n ${kbuild:-} ]] || no_kernel "cannot download the packages of $name"
    rm -rf "$k_root.new"
    mkdir -p "$k_root.new"
    for package in "$vm_cache/debs/$name"/*.deb; do dpkg-deb -x "$package" "$k_root.new"; done
    rm -rf "$vm_cache/debs/$name"
    # The headers name their common part by absolute path.
    printf 'include %s/usr/src/%s/Makefile\n' "$k_root" "$common" >"$k_root.new/usr/src/$headers/Makefile"
    depmod -b "$k_root.new" "$version" 2>/dev/null
    echo "$version" >"$k_root.new/.abi"
    echo "$headers" >"$k_root.new/.hdr"
    touch "$k_root.new/.complete"
    rm -rf "$k_root"
    mv "$k_root.new" "$k_root"
}
