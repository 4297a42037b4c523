# Sourced by `cluster`: a one-node cluster in Docker.

NAME=embedding-operator

is_up() { kind get kubeconfig --name "$NAME" >/dev/null 2>&1 && kubectl get --raw /readyz >/dev/null 2>&1; }

bring_up() {
    local program
    for program in docker kind kubectl helm; do
        command -v "$program" >/dev/null || die "the kind cluster needs $program on the PATH"
    done
    take_down # what an interrupted run left
    kind create cluster --name "$NAME" --kubeconfig "$KUBECONFIG" --wait 120s \
        --config <(sed "s#HERE#$HERE#" "$HERE/kind/config.yaml")
}

take_down() { kind delete cluster --name "$NAME" --kubeconfig "$KUBECONFIG"; }

purge() { :; } # what is kept are images in Docker's own store

# build NAME DOCKERFILE TARGET CONTEXT
build() {
    local secret
    mapfile -t secret < <(ca_secret)
    docker build --quiet --file "$2" --target "$3" --tag "$1" "${secret[@]}" "$4"
    kind load docker-image --name "$NAME" "$1"
}

tag() {
    docker tag "$1" "$2"
    kind load docker-image --name "$NAME" "$2"
}

tidy_images() { docker image prune --force >/dev/null; }

path() { :; } # kubectl and helm are on the PATH already

audit_log() { docker exec "$NAME-control-plane" cat /var/log/kubernetes/audit.log; }

stop_component() { die "only the native cluster stops and starts parts of itself: CLUSTER=native"; }

start_component() { stop_component "$1"; }
