#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Install what the project needs: Debian packages and a Python environment in .venv.
# Does nothing, in well under a second, where all is there. Exit 3: something is missing and
# cannot be installed; the list is printed.
set -eu
cd "$(dirname "$0")/.."

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
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	fail "$python is older than 3.11; name another one with PYTHON=..."

want=$("$python" -c 'import sys; print(sys.version)' |
	cat - constraints.txt pyproject.toml scripts/setup.sh | sha256sum)
if [ "$(cat .venv/setup-stamp 2>/dev/null)" != "$want" ]; then
	echo "setup: making the Python environment in .venv"
	rm -rf .venv
	"$python" -m venv .venv || fail "$python -m venv does not work"
	# Build requirements are pinned by the same file, which pip only takes from the environment.
	PIP_CONSTRAINT=$PWD/constraints.txt .venv/bin/python -m pip install \
		--quiet --disable-pip-version-check --editable '.[dev]' ||
		fail "pip could not install the Python packages"
	printf '%s\n' "$want" >.venv/setup-stamp
fi
