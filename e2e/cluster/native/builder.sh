# Sourced by driver.sh: BuildKit, which builds into containerd's image store, where kubelet finds the images.

PAUSE=docker.io/local/pause:1
DEBIAN=docker.io/library/debian:bookworm-slim

start_builder() {
    cat >"$RUN/buildkitd.toml" <<TOML
root = "$STATE/buildkit"
insecure-entitlements = ["network.host"]

[grpc]
  address = ["unix://$BUILDKITD"]

[worker.oci]
  enabled = false

[worker.containerd]
  address = "$CONTAINERD"
  namespace = "k8s.io"
  networkMode = "host"
  [[worker.containerd.gcpolicy]] # between runs it keeps the layers of the last build, not those of last month's
    all = true
    maxUsedSpace = "15GB"
TOML
    start buildkitd "$BIN/buildkitd" --config "$RUN/buildkitd.toml"
    until_ready buildkitd 180 "$BIN/buildctl" --addr "unix://$BUILDKITD" debug workers
}

# build NAME DOCKERFILE TARGET CONTEXT
build() {
    has_image "$DEBIAN" || make_debian_image
    local secret
    mapfile -t secret < <(ca_secret)
    quietly "$LOG/build-${1//[:\/]/-}.log" build_image "$(full_name "$1")" "$4" \
        --local "dockerfile=$(dirname "$2")" --opt "filename=$(basename "$2")" --opt "target=$3" "${secret[@]}"
}

# build_image FULL_NAME CONTEXT [OPTIONS]. zstd at its fastest halves the time that a large image takes to store.
build_image() {
    "$BIN/buildctl" --addr "unix://$BUILDKITD" build --progress=plain --frontend dockerfile.v0 \
        --local "context=$2" --opt image-resolve-mode=local \
        --allow network.host --opt force-network-mode=host \
        --output "type=image,name=$1,unpack=true,compression=zstd,compression-level=1" "${@:3}"
}

tag() { ctr images tag --force "$(full_name "$1")" "$(full_name "$2")" >/dev/null; }

# full_name IMAGE: as containerd stores what a manifest calls IMAGE
full_name() {
    local name=$1
    [[ $name == *:* ]] || name=$name:latest
    [[ $name == */* ]] || name=library/$name
    echo "docker.io/$name"
}

has_image() { [ -n "$(ctr images list --quiet "name==$1")" ]; }

# The two images that a registry gives elsewhere.
make_pause_image() {
    has_image "$PAUSE" && return
    local context=$STATE/build/pause
    mkdir -p "$context"
    cp "$BIN/pause" "$context/"
    printf '%s\n' 'FROM scratch' 'COPY pause /pause' 'USER 65535:65535' 'ENTRYPOINT ["/pause"]' >"$context/Dockerfile"
    quietly "$LOG/build-pause.log" build_image "$PAUSE" "$context" --local "dockerfile=$context"
    rm -r "$context"
}

make_debian_image() {
    local context=$STATE/build/debian
    say "making debian:bookworm-slim"
    mkdir -p "$context"
    quietly "$LOG/debootstrap.log" debootstrap --variant=minbase bookworm "$context/root"
    rm -rf "$context"/root/var/cache/apt/archives/*.deb "$context"/root/var/lib/apt/lists/* \
        "$context"/root/usr/share/{doc,info,locale,man}
    tar -C "$context/root" --numeric-owner -cf "$context/root.tar" .
    rm -r "$context/root"
    printf '%s\n' 'FROM scratch' 'ADD root.tar /' 'CMD ["bash"]' >"$context/Dockerfile"
    quietly "$LOG/build-debian.log" build_image "$DEBIAN" "$context" --local "dockerfile=$context"
    rm -r "$context"
}

# A rebuilt image leaves its forerunner behind under its digest alone (containerd's CRI plugin names every image so).
tidy_images() {
    local named reference digest
    named=$(ctr images list | awk '$1 !~ /^sha256:/ && NR > 1 {print $3}')
    while read -r reference digest; do
        [[ $named == *"$digest"* ]] || ctr images rm "$reference" >/dev/null
    done < <(ctr images list | awk '$1 ~ /^sha256:/ {print $1, $3}')
}
