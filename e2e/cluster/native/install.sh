# Sourced by driver.sh: Debian's packages, and Kubernetes' own programs from the Go module proxy.

PACKAGES=(
    conntrack containerd containernetworking-plugins debootstrap ethtool iproute2 iptables openssl procps runc socat
)

install_packages() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing packages: ${missing[*]}"
    quietly "$LOG/apt-update.log" apt-get update
    local policy=/usr/sbin/policy-rc.d ours= failed=
    if [ ! -e "$policy" ]; then # so that Debian starts no daemon of its own: containerd runs from $STATE
        ours=$policy
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    (quietly "$LOG/apt-install.log" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "${missing[@]}") || failed=1
    [ -z "$ours" ] || rm "$ours"
    [ -z "$failed" ] || exit 1
}

install_programs() {
    local version=k8s.io/component-base/version
    program_set tools "-X $version.gitVersion=v1.35.4 -X $version.gitMajor=1 -X $version.gitMinor=35"
    program_set buildkit ""
}

# program_set MODULE LDFLAGS: the tools that native/MODULE/go.mod names, and the module's own commands; unless they are
# there, built from these very files.
program_set() {
    local module=$NATIVE/$1 ldflags=$2 files
    files=$(cd "$module" && find . -type f -exec sha256sum {} + | sort)
    [ "$files" != "$(cat "$BIN/$1.built-from" 2>/dev/null)" ] || return 0
    command -v go >/dev/null ||
        die "the native cluster is built from source: install Go 1.26 (https://go.dev/dl), or use Docker and kind"
    say "building programs: $1 (once; minutes)"
    mkdir -p "$BIN"
    GOCACHE=$STATE/go-build CGO_ENABLED=0 quietly "$LOG/build-$1.log" \
        go build -C "$module" -trimpath -buildvcs=false -ldflags "-s -w $ldflags" -o "$BIN/" tool ./...
    [ ! -f "$BIN/server" ] || mv "$BIN/server" "$BIN/etcd" # the package of etcd is go.etcd.io/etcd/server
    rm -rf "$STATE/go-build" # gigabytes, for what is built once
    echo "$files" >"$BIN/$1.built-from"
}
