#!/bin/sh
# attention.sh DIRECTORY: compiles the attention kernel for AVX2 and for AVX-512 into a directory: both, or none. Needs
# GCC, whose vector extensions it uses; CC selects another version.
set -eu
source=$(dirname "$0")/src/embedding_runtime/worker/backends/attention.c
compiled=$(mktemp -d)
trap 'rm -r "$compiled"' EXIT
compile() {
    "${CC:-gcc}" -O3 -mfma "$1" -fopenmp -fPIC -shared -s -Wall -Wextra -o "$compiled/$2" "$source"
}
compile -mavx2 attention_avx2.so
compile -mavx512f attention_avx512.so
mv "$compiled/attention_avx2.so" "$compiled/attention_avx512.so" "$1"
