#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Run the README's first command on another release of Debian, as a newcomer would: an empty root
# made by debootstrap, a clone of what is committed here, no cache.
#
#   scripts/try-release.sh [--keep] [--user] RELEASE [COMMAND...]
#
# The command is `make test-kernel`. --keep leaves the root where it is. --user runs the command as an
# ordinary user, who cannot become root, on a machine that has the packages.
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

keep='' user=root
while :; do
	case ${1-} in
	--keep) keep=yes ;;
	--user) user=newcomer ;;
	*) break ;;
	esac
	shift
done
release=${1-}
[ -n "$release" ] || fail "name a release, such as trixie"
shift
[ $# -gt 0 ] || set -- make test-kernel
[ "$(id -u)" = 0 ] || fail "a root of another release can only be made by root"
command -v debootstrap >/dev/null || fail "debootstrap is missing" "apt-get install debootstrap"

archive=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Identifier: Packages' |
	sed -n 's/^Debian Debian //p' | head -n 1)
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

# How this machine reaches the package archives; nothing else of it is seen inside.
for path in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/xdg/pip /etc/apt/apt.conf.d/*proxy* \
	/etc/apt/apt.conf.d/*registry* /usr/local/share/ca-certificates; do
	[ -e "$path" ] || continue
	mkdir -p "$root$(dirname "$path")"
	cp -rL "$path" "$root$(dirname "$path")/"
done
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"

git clone --quiet --no-hardlinks . "$root/home/$user/my checkout"
cat >"$work/inside.sh" <<'END'
set -eu
apt-get -qq update
export DEBIAN_FRONTEND=noninteractive HOME="/home/$user" HARNESS_CACHE="/home/$user/my cache" TERM=dumb
apt-get -qq -y install --no-install-recommends git make >/dev/null
cd "$HOME/my checkout"
if [ "$user" != root ]; then
	sed '/^#/d; s/[[:space:]].*//' packages.txt |
		xargs apt-get -qq -y install --no-install-recommends >/dev/null
	useradd --home-dir "$HOME" "$user"
	chown -R "$user:" "$HOME"
	export PATH=/usr/bin:/bin
	set -- setpriv --reuid="$user" --regid="$user" --init-groups "$@"
fi
"$@"
END
cp "$work/inside.sh" "$root/home/"
start=$(date +%s)
status=0
# Its own mounts and processes, so that nothing is left when it ends.
unshare --mount --pid --fork --kill-child sh -eu -c '
	root=$1 user=$2
	shift 2
	mount --bind "$root" "$root"
	mount --rbind --make-rslave /dev "$root/dev"
	# With the control groups, which limit what a stranger may build as root.
	mount --rbind --make-rslave /sys "$root/sys"
	mount -t proc proc "$root/proc"
	# Not chroot: there the kernel makes no user namespaces, which tests need.
	cd "$root"
	pivot_root . .
	umount -l .
	exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "user=$user" sh /home/inside.sh "$@"
' sh "$root" "$user" "$@" || status=$?
echo "try-release: $release: $* ended with status $status after $(($(date +%s) - start)) s"
exit "$status"
