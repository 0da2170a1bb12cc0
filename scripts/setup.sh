#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Install what the project needs: Debian packages and a Python environment in .venv.
# Does nothing, in well under a second, where all is there. Exit 3: something is missing and
# cannot be installed; the list is printed.
# With the word "system" it also makes an environment in .venv-system with the Python that the
# distribution has, where that is another version (3.11 or later) than that of .venv.
set -eu
# With it, cd would find another directory than the one that is meant, and .venv is removed there.
unset CDPATH
cd -P -- "$(dirname -- "$0")/.."

# What the user has exported for other work (PYTHONHOME, PIP_TARGET, TAR_OPTIONS) must not count.
# Only these variables pass: where he and his settings are, his proxies, certificates and mirrors.
if [ "${SETUP_ENVIRONMENT-}" != clean ]; then
	word=${1-}
	set --
	for name in HOME USER LOGNAME TERM PYTHON \
		http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY \
		SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE \
		PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX PIP_TRUSTED_HOST PIP_CERT \
		PIP_CLIENT_CERT PIP_PROXY PIP_CONFIG_FILE PIP_CACHE_DIR PIP_NO_CACHE_DIR \
		PIP_DEFAULT_TIMEOUT PIP_RETRIES; do
		eval "value=\${$name-}"
		[ -z "$value" ] || set -- "$@" "$name=$value"
	done
	exec env -i SETUP_ENVIRONMENT=clean "PATH=$PATH" LC_ALL=C.UTF-8 "$@" sh scripts/setup.sh "$word"
fi

missing_packages() {
	sed 's/[[:space:]]*#.*//; /^$/d' debian-packages.txt | while read -r package; do
		status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=absent
		[ "$status" = installed ] || printf ' %s' "$package"
	done
}

fail() {
	printf 'setup: %s\n' "$@" >&2
	exit 3
}

case $PWD in
*:* | *"
"*) fail "Python can make no environment in a directory whose name has a colon or a line end:" \
	"$PWD" "move the clone, or clone it into another directory" ;;
esac

if ! command -v dpkg-query >/dev/null; then
	fail "this is not Debian: dpkg-query is missing" \
		"install the counterparts of these packages, then run the tools from a .venv of your own:" \
		"$(sed 's/[[:space:]]*#.*//; /^$/d' debian-packages.txt | tr '\n' ' ')"
fi

missing=$(missing_packages)
if [ -n "$missing" ]; then
	if [ "$(id -u)" = 0 ]; then
		as_root=
	elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
		as_root=sudo
	else
		fail "these Debian packages are missing:$missing" \
			"you are not root and sudo cannot be used; ask for:" \
			"apt-get install --no-install-recommends$missing"
	fi
	echo "setup: installing Debian packages:$missing"
	# The lists on a fresh machine are empty or old, so a first failure is no news.
	# shellcheck disable=SC2086  # a list of words
	install() {
		$as_root env DEBIAN_FRONTEND=noninteractive \
			apt-get -qq -y install --no-install-recommends $missing >/dev/null
	}
	install 2>/dev/null || { $as_root apt-get -qq update && install; } ||
		fail "apt-get could not install:$missing"
fi

python=${PYTHON:-python3}
"$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	fail "$python is older than 3.11; name another one with PYTHON=..."

# make_environment DIRECTORY PYTHON
make_environment() {
	want=$("$2" -I -c 'import sys; print(sys.version)' |
		cat - constraints.txt pyproject.toml scripts/setup.sh | sha256sum)
	[ "$(cat "$1/setup-stamp" 2>/dev/null)" != "$want" ] || return 0
	echo "setup: making the Python environment in $1"
	rm -rf "./$1"
	"$2" -I -m venv "$1" || fail "$2 -m venv does not work"
	# Build requirements are pinned by the same file, which pip only takes from the environment,
	# where a blank ends a name; a relative one it takes from where it builds.
	pins=$(mktemp)
	cp constraints.txt "$pins"
	PIP_CONSTRAINT=$pins PIP_USER=0 "$1/bin/python" -I -m pip install \
		--quiet --disable-pip-version-check --editable '.[dev]' || {
		rm -f "$pins"
		fail "pip could not install the Python packages"
	}
	rm -f "$pins"
	# In place of pip's own: PYTHONPATH and the like would count before any line of ours runs (-I),
	# and the interpreter's path may hold what a #! line cannot.
	cat >"$1/bin/harness" <<-'EOF'
		#!/bin/sh
		'''exec' "$(dirname -- "$(readlink -f -- "$0")")/python" -I "$0" "$@"
		'''
		import sys

		from harness.cli import main

		sys.exit(main())
	EOF
	chmod +x "$1/bin/harness"
	printf '%s\n' "$want" >"$1/setup-stamp"
}

make_environment .venv "$python"

if [ "${1-}" = system ]; then
	system=/usr/bin/python3
	version() { "$1" -I -c 'import sys; print(*sys.version_info[:3])'; }
	if [ -x "$system" ] && "$system" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' &&
		[ "$(version "$system")" != "$(version .venv/bin/python)" ]; then
		make_environment .venv-system "$system"
	else
		# One of another day would be tested in its place.
		rm -rf .venv-system
	fi
fi
