#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Install what the project needs: packages of Debian or Ubuntu (packages.txt), and a Python
# environment in .venv. On another distribution it installs no packages, but says what is missing.
# Does nothing, in well under a second, where all is there. Exit 3: something is missing and
# cannot be installed; the list is printed.
# With the word "browser" it also installs one for the tests of the HTML report.
# With the word "sshd" it also installs OpenSSH's server for the tests of hosts; it is not started.
# With the word "extra" it also installs the Python packages of extras, for `make test-extra`.
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
		PIP_DEFAULT_TIMEOUT PIP_RETRIES HARNESS_BROWSER; do
		eval "value=\${$name-}"
		[ -z "$value" ] || set -- "$@" "$name=$value"
	done
	exec env -i SETUP_ENVIRONMENT=clean "PATH=$PATH" LC_ALL=C.UTF-8 "$@" sh scripts/setup.sh "$word"
fi

# rows: the rows of packages.txt, without comments
rows() {
	sed '/^#/d; /^[[:space:]]*$/d' packages.txt
}

# Print the packages of Debian that are missing, each after a blank.
missing_packages() {
	rows | while read -r package _; do
		is_installed "$package" || printf ' %s' "$package"
	done
}

# Succeed if there is a browser that tests can use; tests/report/browser.py has the same names.
has_browser() {
	for name in ${HARNESS_BROWSER:-chromium-headless-shell chromium chromium-browser google-chrome}; do
		! command -v "$name" >/dev/null || return 0
	done
	return 1
}

has_sshd() {
	[ -x /usr/sbin/sshd ]
}

# has_word WORD WORDS
has_word() {
	case " $2 " in *" $1 "*) ;; *) return 1 ;; esac
}

# Debian starts a service when its package is installed, unless this file says no.
POLICY=/usr/sbin/policy-rc.d
keep_from_starting() {
	[ ! -e "$POLICY" ] || return 0
	trap '$as_root rm -f "$POLICY"' EXIT
	printf '#!/bin/sh\nexit 101\n' | $as_root tee "$POLICY" >/dev/null
	$as_root chmod 755 "$POLICY"
}

# And when the machine starts, unless the service is disabled.
keep_disabled() {
	if command -v systemctl >/dev/null; then
		$as_root systemctl disable --quiet ssh.service ssh.socket 2>/dev/null || true
	fi
	echo "setup: openssh-server is installed for tests; it is neither started nor enabled"
}

is_installed() {
	status=$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) || status=absent
	[ "$status" = installed ]
}

# how_to_find THING: print the command that succeeds if it is there
how_to_find() {
	case $1 in
	*.h) echo "echo '#include <$1>' | gcc -x c -E -" ;;
	*.a) echo "test -e \"\$(gcc -print-file-name=$1)\"" ;;
	python:*) echo "\"\${PYTHON:-python3}\" -I -c 'import ${1#*:}'" ;;
	*) echo "command -v $1" ;;
	esac
}

# Print a line "thing|packages of Fedora|package of Debian" for each thing that is missing.
missing_things() {
	rows | while IFS='|' read -r debian fedora things _; do
		for thing in $things; do
			[ "$thing" != - ] || continue
			sh -c "$(how_to_find "$thing")" >/dev/null 2>&1 </dev/null ||
				echo "$thing|$fedora|$debian"
		done
	done
}

# column NUMBER: print that column of standard input as one line, each word once
column() {
	cut -d '|' -f "$1" | tr -s ' ' '\n' | sed '/^$/d' | sort -u | paste -s -d ' ' -
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

# Asked of dpkg itself: Fedora has a package of that name, which manages nothing there.
if is_installed dpkg; then
	missing=$(missing_packages)
	# Not in packages.txt: 90 MB that no run needs, and Ubuntu has none without snap.
	[ "${1-}" != browser ] || has_browser || missing="$missing chromium-headless-shell"
	# Not in packages.txt either: no run needs it, and a user may not want one on port 22.
	[ "${1-}" != sshd ] || has_sshd || missing="$missing openssh-server"
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
		! has_word openssh-server "$missing" || keep_from_starting
		install 2>/dev/null || { $as_root apt-get -qq update && install; } ||
			fail "apt-get could not install:$missing"
		! has_word openssh-server "$missing" || keep_disabled
	fi
else
	missing=$(missing_things)
	if [ -n "$missing" ]; then
		echo "setup: these are missing, each with the command that looked for it:" >&2
		for thing in $(printf '%s\n' "$missing" | cut -d '|' -f 1); do
			printf 'setup:     %-20s %s\n' "$thing" "$(how_to_find "$thing")" >&2
		done
		fail "packages are installed here only with dpkg and apt; install what has these, and try again" \
			"in Fedora: dnf install $(printf '%s\n' "$missing" | column 2)" \
			"the packages of Debian: $(printf '%s\n' "$missing" | column 3)"
	fi
	[ "${1-}" != sshd ] || has_sshd || fail "there is no sshd for the tests of hosts" \
		"install openssh-server; the tests start it themselves, on another port"
	[ "${1-}" != browser ] || has_browser || fail "there is no browser for the tests of the HTML report" \
		"install Chromium, or name a browser that is based on it with HARNESS_BROWSER"
fi

python=${PYTHON:-python3}
"$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	fail "$python is older than 3.11; name another one with PYTHON=..."

# pip_install DIRECTORY ARGUMENT...: install into the environment in that directory
pip_install() {
	# Build requirements are pinned by the same file, which pip only takes from the environment,
	# where a blank ends a name; a relative one it takes from where it builds.
	pins=$(mktemp)
	cp constraints.txt "$pins"
	environment=$1
	shift
	PIP_CONSTRAINT=$pins PIP_USER=0 "$environment/bin/python" -I -m pip install \
		--quiet --disable-pip-version-check "$@" || {
		rm -f "$pins"
		fail "pip could not install the Python packages"
	}
	rm -f "$pins"
}

# make_environment DIRECTORY PYTHON
make_environment() {
	want=$("$2" -I -c 'import sys; print(sys.version)' |
		cat - constraints.txt pyproject.toml scripts/setup.sh | sha256sum)
	[ "$(cat "$1/setup-stamp" 2>/dev/null)" != "$want" ] || return 0
	echo "setup: making the Python environment in $1"
	rm -rf "./$1"
	"$2" -I -m venv "$1" || fail "$2 -m venv does not work"
	pip_install "$1" --editable '.[dev]'
	# In place of pip's own: PYTHONPATH and the like would count before any line of ours runs (-I),
	# and the interpreter's path may hold what a #! line cannot.
	cat >"$1/bin/harness" <<-'EOF'
		#!/bin/sh
		'''exec' "$(dirname -- "$(readlink -f -- "$0")")/python" -I "$0" "$@"
		'''
		import sys

		from harness.cli import main

		# Processes that are spawned import this file as well.
		if __name__ == "__main__":
		    sys.exit(main())
	EOF
	chmod +x "$1/bin/harness"
	printf '%s\n' "$want" >"$1/setup-stamp"
}

[ -e .venv/setup-stamp ] || told=no
make_environment .venv "$python"
if [ "${told-}" = no ]; then
	echo 'setup: for completion, in bash: eval "$(_HARNESS_COMPLETE=bash_source .venv/bin/harness)"'
fi

# Together with the environment it goes, and is made again.
if [ "${1-}" = extra ] && [ ! -e .venv/extra-stamp ]; then
	echo "setup: installing what tests of extras need into .venv"
	command=.venv/bin/harness
	cp "$command" "$command.ours"
	pip_install .venv --editable '.[dev,dask,mcp,docs,consumers,statistics]'
	# pip has put its own in its place.
	mv "$command.ours" "$command"
	: >.venv/extra-stamp
fi

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
