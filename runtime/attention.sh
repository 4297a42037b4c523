#!/bin/sh
# attention.sh DIRECTORY: compiles the attention kernel for AVX2 and for AVX-512 into a directory. Needs GCC, whose vector
# extensions it uses; CC selects another version.
set -eu
source=$(dirname "$0")/src/embedding_runtime/worker/backends/attention.c
compile() {
    "${CC:-gcc}" -O3 -mfma "$1" -fopenmp -fPIC -shared -s -Wall -Wextra -o "$2" "$source"
}
compile -mavx2 "$1/attention_avx2.so"
compile -mavx512f "$1/attention_avx512.so"
