# Sourced by driver.sh: the network of the node, containerd, kubelet, kube-proxy and CoreDNS.

# One native cluster at a time: addresses, links and rules are the machine's. kube0 tells that there is one.
is_alone() {
    ! ip link show kube0 >/dev/null 2>&1 || die "this machine runs another native cluster, of another CLUSTER_STATE"
}

make_network() {
    ip link add kube0 type bridge || die "another native cluster came up on this machine just now"
    touch "$RUN/network-is-ours" # what take_down goes by: from here on, links and rules are this cluster's
    sysctl -n net.ipv4.ip_forward >"$RUN/ip_forward.before"
    sysctl -qw net.ipv4.ip_forward=1
    ip addr add "$NODE_IP/32" dev kube0 # a bridge holds the node's address: not every kernel has the type `dummy`
    ip link set kube0 up
}

start_containerd() {
    mkdir -p "$RUN/cni"
    cat >"$RUN/cni/pods.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
     "ipam": {"type": "host-local", "dataDir": "$RUN/ipam", "ranges": [[{"subnet": "$PODS"}]],
              "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
    cat >"$RUN/containerd.toml" <<TOML
version = 2
root = "$STATE/containerd"
state = "$RUN/containerd"

[grpc]
  address = "$CONTAINERD"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE"
  # Without CAP_SYS_RESOURCE runc dies of a pod's score ("can't get final child's PID from pipe: EOF").
  restrict_oom_score_adj = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$RUN/cni"
TOML
    start containerd containerd --config "$RUN/containerd.toml"
    until_ready containerd 180 ctr version
}

start_node() {
    cat >"$RUN/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$CONTAINERD
address: $NODE_IP
tlsCertFile: $PKI/kubelet.crt
tlsPrivateKeyFile: $PKI/kubelet.key
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: $PKI/ca.crt}}
clusterDomain: cluster.local
clusterDNS: [$DNS_IP]
podLogsDir: $LOG/pods
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100 # an image that it dropped could not be pulled again
evictionHard: {memory.available: 200Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}
serializeImagePulls: false
syncFrequency: 5s # a changed Secret reaches a pod within 8 s, and not 90
YAML
    start kubelet "$BIN/kubelet" --config "$RUN/kubelet.yaml" --kubeconfig "$PKI/kubelet.kubeconfig" \
        --root-dir "$RUN/kubelet" --hostname-override "$NODE" --node-ip "$NODE_IP"
    start kube-proxy "$BIN/kube-proxy" --kubeconfig "$PKI/kube-proxy.kubeconfig" --hostname-override "$NODE" \
        --proxy-mode iptables --cluster-cidr "$PODS" --conntrack-max-per-core 0 --bind-address "$NODE_IP" \
        --healthz-bind-address 127.0.0.1:10256 --metrics-bind-address 127.0.0.1:10249
    cat >"$RUN/Corefile" <<CONFIG
. {
    bind $NODE_IP
    errors
    kubernetes cluster.local {
        kubeconfig $PKI/coredns.kubeconfig
    }
    forward . /etc/resolv.conf
}
CONFIG
    kubectl apply --filename "$NATIVE/manifests" >/dev/null
    start coredns "$BIN/coredns" -conf "$RUN/Corefile"
}
