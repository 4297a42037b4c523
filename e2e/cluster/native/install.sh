# Sourced by driver.sh: Debian's packages, and Kubernetes' own programs from the Go module proxy.

PACKAGES=(
    conntrack containerd containernetworking-plugins debootstrap ethtool iproute2 iptables openssl procps runc socat
)

install_packages() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        [ -n "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -x installed)" ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing packages: ${missing[*]}"
    quietly "$LOG/apt-update.log" apt-get update
    local policy=/usr/sbin/policy-rc.d refuse=
    if [ ! -e "$policy" ]; then # so that Debian starts no daemon of its own: containerd runs from $STATE
        refuse=$policy
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    quietly "$LOG/apt-install.log" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "${missing[@]}"
    [ -z "$refuse" ] || rm "$refuse"
}

install_programs() {
    program_set tools "-X k8s.io/component-base/version.gitVersion=v1.35.4 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=35"
    program_set buildkit ""
    rm -rf "$STATE/go-build" # 5 GB, for programs that are built once
}

# program_set MODULE LDFLAGS: the tools of native/MODULE's go.mod and its own commands, unless they are there as it says.
program_set() {
    local module=$NATIVE/$1 ldflags=$2 stamp
    stamp=$(cd "$module" && find . -type f | sort | xargs sha256sum)
    [ "$stamp" != "$(cat "$BIN/$1.built-from" 2>/dev/null)" ] || return 0
    command -v go >/dev/null ||
        die "the native cluster is built from source: install Go 1.26 (https://go.dev/dl), or use Docker and kind"
    say "building programs: $1 (once; minutes)"
    mkdir -p "$BIN"
    quietly "$LOG/build-$1.log" build_programs "$module" "$ldflags"
    echo "$stamp" >"$BIN/$1.built-from"
}

build_programs() {
    local module=$1 ldflags=$2 own
    cd "$module"
    export CGO_ENABLED=0 GOFLAGS=-trimpath GOCACHE=$STATE/go-build
    go build -ldflags "-s -w $ldflags" -o "$BIN/" tool
    for own in */main.go; do
        [ ! -f "$own" ] || go build -ldflags "-s -w" -o "$BIN/" "./$(dirname "$own")"
    done
    [ ! -f "$BIN/server" ] || mv "$BIN/server" "$BIN/etcd" # its package is go.etcd.io/etcd/server
}
