#!/bin/sh
# debian.sh [PROGRAM...]: installs the Debian packages that the Python environment cannot bring: python3's own venv, and
# libnuma, which vLLM's CPU kernels are linked to; and programs, by the package of their name but for chromedriver. As
# root, or through sudo where that asks for no password; else says what to install.
set -eu
missing=
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
python3 -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null || missing="$missing libnuma1"
for program in "$@"; do
    package=$program
    case $program in
        chromedriver) package=chromium-driver ;; # which brings chromium
        gcc) package="gcc libc6-dev" ;;
    esac
    command -v "$program" >/dev/null || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "setting up: Debian packages$missing" >&2
as_root=
[ "$(id -u)" = 0 ] || as_root="sudo -n"
export DEBIAN_FRONTEND=noninteractive
{
    $as_root apt-get update -qq && $as_root apt-get install -qq -y --no-install-recommends $missing >/dev/null
} || {
    echo "could not install them: run 'sudo apt-get install$missing', then this again" >&2
    exit 1
}
