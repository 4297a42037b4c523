# Sourced by `cluster`: the project's images, smallest first.

# NAME                DOCKERFILE               TARGET    CONTEXT        OTHER NAME
IMAGES="
embedding-operator    operator/Dockerfile      operator  .              -
embedding-storage     runtime/Dockerfile       storage   .              kserve/huggingfacehub-storage-initializer
fake-hub              e2e/fake_hub/Dockerfile  hub       tests/support  -
embedding-runtime:cpu runtime/Dockerfile       cpu       .              -
"
# The other name stands in for the image that the guide's ClusterStorageContainer names, where no registry is in reach:
# both take the URI and the directory as their two arguments, and the token in HF_TOKEN.

load_images() {
    local wanted=" $* " name dockerfile target context other
    for name in "$@"; do
        [[ $IMAGES == *$'\n'"$name "* ]] || die "no image $name; there are:$(awk 'NF {printf " %s", $1}' <<<"$IMAGES")"
    done
    while read -r name dockerfile target context other; do
        [[ -n $name && ($wanted == "  " || $wanted == *" $name "*) ]] || continue
        say "building $name"
        build "$name" "$REPOSITORY/$dockerfile" "$target" "$REPOSITORY/$context"
        [ "$other" = - ] || tag "$name" "$other"
    done <<<"$IMAGES"
    tidy_images
    say "images are in the cluster"
}

# load_operator_image COMMIT: for tests that upgrade from an earlier release.
load_operator_image() {
    local source=$STATE/build/operator-$1
    mkdir -p "$source"
    git -C "$REPOSITORY" archive "$1" | tar -x -C "$source"
    say "building embedding-operator:$1"
    build "embedding-operator:$1" "$source/operator/Dockerfile" operator "$source"
    rm -r "$source"
    tidy_images
}

# The certificates that this machine trusts, as options of `docker build` and `buildctl build` alike: a private
# authority's are needed to download packages, and a build secret is never in an image.
ca_secret() {
    local bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
    [ ! -f "$bundle" ] || printf '%s\n' --secret "id=ca,src=$bundle"
}
