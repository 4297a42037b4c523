#!/bin/sh
# uv.sh DIR: leaves DIR/bin/uv, of the pinned version. Needs python3 alone: where Debian's python3 comes without venv
# and pip, it installs them (as root, or through sudo where that asks for no password), or says what to install.
set -eu
version=0.13.9
dir=$1
[ "$("$dir/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" != "$version" ] || exit 0
rm -rf "$dir"
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root="sudo -n"
    echo "setting up: python3 has no venv module, installing the package python3-venv" >&2
    { $as_root apt-get update -qq && $as_root apt-get install -qq -y --no-install-recommends python3-venv >/dev/null; } || {
        echo "could not install it: run 'sudo apt-get install python3-venv', then this again" >&2
        exit 1
    }
fi
echo "setting up: uv $version" >&2
python3 -m venv "$dir"
"$dir/bin/pip" install --quiet --disable-pip-version-check "uv==$version"
