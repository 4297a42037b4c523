# Sourced by `cluster`: a one-node cluster from processes of this machine. Everything it writes is under $STATE.

NODE=node1
NODE_IP=10.200.0.1 # on a bridge of its own, kube0; traffic to these networks never leaves the machine
API=https://$NODE_IP:16443
ETCD=http://127.0.0.1:12379
PODS=10.244.0.0/24
SERVICES=10.96.0.0/16
API_SERVICE_IP=10.96.0.1
DNS_IP=10.96.0.10 # in manifests/dns.yaml too

NATIVE=$HERE/native
BIN=$STATE/bin
RUN=$STATE/run
LOG=$STATE/log
PKI=$RUN/pki
CONTAINERD=$RUN/containerd.sock
BUILDKITD=$RUN/buildkitd.sock

. "$NATIVE/install.sh"
. "$NATIVE/processes.sh"
. "$NATIVE/identities.sh"
. "$NATIVE/control_plane.sh"
. "$NATIVE/node.sh"
. "$NATIVE/builder.sh"
. "$NATIVE/cleanup.sh"

kubectl() { "$BIN/kubectl" "$@"; }
ctr() { command ctr --address "$CONTAINERD" --namespace k8s.io "$@"; }

is_up() {
    local name
    for name in "${PROCESSES[@]}"; do
        is_running "$name" || return 1
    done
    kubectl get --raw /readyz >/dev/null 2>&1
}

bring_up() {
    [ "$(id -u)" = 0 ] || die "the native cluster needs root; with Docker and kind, CLUSTER=kind does not"
    take_down # what an interrupted run left
    is_alone # before minutes of building
    install_packages
    install_programs
    is_alone # and after them
    mkdir -p "$RUN" "$LOG" "$PKI"
    make_network
    make_identities
    say "starting the control plane"
    start_control_plane
    start_containerd
    start_builder
    make_pause_image
    say "starting the node"
    start_node
    wait_for 300 "service accounts" kubectl get serviceaccount default
    wait_for 300 "node $NODE to be ready" kubectl wait --for=condition=Ready "node/$NODE" --timeout=1s
}

path() { echo "$BIN"; }

audit_log() { cat "$LOG/audit.log"; }
