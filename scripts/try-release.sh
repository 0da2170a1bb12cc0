#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Run the README's first command on another release of Debian, as a newcomer would: an empty root
# made by debootstrap, a clone of what is committed here, no cache.
#
#   scripts/try-release.sh [--keep] [--user | --container] RELEASE [COMMAND...]
#
# The command is `make test-kernel`. --keep leaves the root where it is. --user runs the command as an
# ordinary user, who cannot become root, on a machine that has the packages. --container lets that
# user build the image of the Containerfile with podman, and run it: the command of the image, or the
# one that is named. No registry of images is needed: the image that it is built on is made as the
# root is, and has the name that the Containerfile gives.
#
# Needs root and debootstrap. Packages come from the archive that this machine's apt uses. The last
# line tells how long the command took. Exit: that of the command, or 3 where there is no root to run
# it in.
set -eu
cd "$(dirname "$0")/.."

fail() {
	printf 'try-release: %s\n' "$@" >&2
	exit 3
}

keep='' mode=root user=root
while :; do
	case ${1-} in
	--keep) keep=yes ;;
	--user | --container) mode=${1#--} user=newcomer ;;
	*) break ;;
	esac
	shift
done
release=${1-}
[ -n "$release" ] || fail "name a release, such as trixie"
shift
[ "$mode" = container ] || [ $# -gt 0 ] || set -- make test-kernel
[ "$(id -u)" = 0 ] || fail "a root of another release can only be made by root"
command -v debootstrap >/dev/null || fail "debootstrap is missing" "apt-get install debootstrap"

# archive_of LABEL: print the URL of Debian's archive of that label
archive_of() {
	apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Identifier: Packages' |
		sed -n "s/^Debian $1 //p" | head -n 1
}
archive=$(archive_of Debian) security=$(archive_of Debian-Security)
[ -n "$archive" ] || fail "this machine's apt has no Debian archive" "apt-get update, then try again"

work=$(mktemp -d)
root=$work/root
cleanup() {
	if [ -n "$keep" ]; then
		echo "try-release: kept: $root"
	else
		rm -rf --one-file-system "$work"
	fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

echo "try-release: making a root of $release"
debootstrap --variant=minbase --include=ca-certificates "$release" "$root" "$archive" \
	>"$work/debootstrap.log" 2>&1 ||
	fail "debootstrap could not make a root:" "$(tail -n 5 "$work/debootstrap.log")"
{
	printf 'deb %s %s main\n' "$archive" "$release" "$archive" "$release-updates"
	[ -z "$security" ] || echo "deb $security $release-security main"
} >"$root/etc/apt/sources.list"

# How this machine reaches the package archives; nothing else of it is seen inside.
for path in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/xdg/pip /etc/apt/apt.conf.d/*proxy* \
	/etc/apt/apt.conf.d/*registry* /usr/local/share/ca-certificates; do
	[ -e "$path" ] || continue
	mkdir -p "$root$(dirname "$path")"
	cp -rL "$path" "$root$(dirname "$path")/"
done
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"

if [ "$mode" = container ]; then
	# Like an image in a registry: without the lists of packages.
	tar -C "$root" --exclude='./var/lib/apt/lists/*' --exclude='./var/cache/apt/*' -cf "$work/base.tar" .
	mv "$work/base.tar" "$root/home/"
fi

git clone --quiet --no-hardlinks . "$root/home/$user/my checkout"
cat >"$work/inside.sh" <<'END'
set -eu
apt-get -qq update
export DEBIAN_FRONTEND=noninteractive HOME="/home/$user" HARNESS_CACHE="/home/$user/my cache" TERM=dumb
apt-get -qq -y install --no-install-recommends git make >/dev/null
cd "$HOME/my checkout"
if [ "$user" != root ]; then
	case $mode in
	user) sed '/^#/d; s/[[:space:]].*//' packages.txt ;;
	container) echo podman crun fuse-overlayfs passt slirp4netns uidmap ;;
	esac | xargs apt-get -qq -y install --no-install-recommends >/dev/null
	useradd --home-dir "$HOME" "$user"
	chown -R "$user:" "$HOME"
	export PATH=/usr/bin:/bin
	if [ "$mode" = container ]; then
		set -- sh -eu /home/container.sh "$@"
	fi
	set -- setpriv --reuid="$user" --regid="$user" --init-groups "$@"
fi
"$@"
END
cat >"$work/container.sh" <<'END'
# The lines of docs/reports.md.
image=$(sed -n 's/^FROM //p' Containerfile)
podman import --quiet /home/base.tar "$image"
podman build -t kernel-selftests .
echo "try-release: the image is built after $(($(date +%s) - start)) s"
mkdir -p runs
podman run --rm -v kernel-selftests-cache:/cache -v ./runs:/harness/runs:U kernel-selftests "$@"
END
cp "$work/inside.sh" "$work/container.sh" "$root/home/"
start=$(date +%s)
status=0
# Its own mounts and processes, so that nothing is left when it ends.
unshare --mount --pid --fork --kill-child sh -eu -c '
	root=$1 mode=$2 user=$3 start=$4
	shift 4
	mount --bind "$root" "$root"
	mount --rbind --make-rslave /dev "$root/dev"
	# With the control groups, which limit what a stranger may build as root.
	mount --rbind --make-rslave /sys "$root/sys"
	mount -t proc proc "$root/proc"
	if [ "$mode" = container ]; then
		# As on a machine of today: crun takes no mixture of both versions of control groups, and
		# any user may open tun.
		umount -R "$root/sys/fs/cgroup"
		mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
		mount -t tmpfs tmpfs "$root/dev/net"
		mknod -m 666 "$root/dev/net/tun" c 10 200
	fi
	# Not chroot: there the kernel makes no user namespaces, which tests need.
	cd "$root"
	pivot_root . .
	umount -l .
	mount --make-rshared /
	exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "mode=$mode" "user=$user" "start=$start" \
		sh /home/inside.sh "$@"
' sh "$root" "$mode" "$user" "$start" "$@" || status=$?
echo "try-release: $release: $* ended with status $status after $(($(date +%s) - start)) s"
exit "$status"
