#!/bin/sh
# wrk.sh DIR: puts wrk, with the libraries that it needs beside glibc, into DIR: to be carried to a machine without a
# package registry. There: PATH=DIR:$PATH make bench-gpu.
set -eu
"$(dirname "$0")/debian.sh" wrk
mkdir -p "$1/lib"
program=$(command -v wrk)
cp "$program" "$1/lib/wrk"
ldd "$program" | awk '/=> \//{print $3}' | grep -v -E '/(libc|libm|libdl|libpthread|ld-linux[^/]*)\.so' | xargs -I{} cp -L {} "$1/lib/"
cat >"$1/wrk" <<'SCRIPT'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")/lib
LD_LIBRARY_PATH=$here exec "$here/wrk" "$@"
SCRIPT
chmod +x "$1/wrk"
