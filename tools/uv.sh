#!/bin/sh
# uv.sh DIR: leaves DIR/bin/uv, of the pinned version. Needs python3 with venv.
set -eu
version=0.13.9
dir=$1
[ "$("$dir/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" != "$version" ] || exit 0
rm -rf "$dir"
echo "setting up: uv $version" >&2
python3 -m venv "$dir"
"$dir/bin/pip" install --quiet --disable-pip-version-check "uv==$version"
