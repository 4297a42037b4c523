# Sourced by driver.sh: etcd, the API server, the controllers and the scheduler.

start_control_plane() {
    start_etcd
    start_kube_apiserver
    start_kube_controller_manager
    start kube-scheduler "$BIN/kube-scheduler" --kubeconfig "$PKI/kube-scheduler.kubeconfig" --leader-elect=false
}

start_kube_controller_manager() {
    start kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig "$PKI/kube-controller-manager.kubeconfig" \
        --leader-elect=false --use-service-account-credentials --cluster-cidr "$PODS" \
        --service-account-private-key-file "$PKI/service-accounts.key" --root-ca-file "$PKI/ca.crt"
}

# Those whose absence is tested: each can be stopped and started again while the rest runs on. It crashes: an API server
# that ends in good order takes its address away from the pods, and kube-proxy takes half a minute to give it back.
stop_component() {
    case "$1" in
        etcd | kube-apiserver | kube-controller-manager) stop "$1" KILL ;;
        *) die "etcd, kube-apiserver and kube-controller-manager can be stopped, not '$1'" ;;
    esac
}

start_component() {
    case "$1" in
        etcd) start_etcd ;;
        kube-apiserver) start_kube_apiserver ;;
        kube-controller-manager) start_kube_controller_manager ;;
        *) die "etcd, kube-apiserver and kube-controller-manager can be started, not '$1'" ;;
    esac
}

start_etcd() {
    start etcd "$BIN/etcd" --data-dir "$RUN/etcd" --unsafe-no-fsync \
        --listen-client-urls "$ETCD" --advertise-client-urls "$ETCD" \
        --listen-peer-urls http://127.0.0.1:12380
}

start_kube_apiserver() {
    start kube-apiserver "$BIN/kube-apiserver" \
        --etcd-servers "$ETCD" \
        --bind-address "$NODE_IP" --secure-port "${API##*:}" --advertise-address "$NODE_IP" \
        --tls-cert-file "$PKI/kube-apiserver.crt" --tls-private-key-file "$PKI/kube-apiserver.key" \
        --client-ca-file "$PKI/ca.crt" \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
        --service-cluster-ip-range "$SERVICES" \
        --service-account-issuer https://kubernetes.default.svc \
        --service-account-key-file "$PKI/service-accounts.key" \
        --service-account-signing-key-file "$PKI/service-accounts.key" \
        --kubelet-preferred-address-types InternalIP --kubelet-certificate-authority "$PKI/ca.crt" \
        --kubelet-client-certificate "$PKI/admin.crt" --kubelet-client-key "$PKI/admin.key" \
        --audit-policy-file "$HERE/audit-policy.yaml" --audit-log-path "$LOG/audit.log"
    until_ready kube-apiserver 300 kubectl get --raw /readyz
}
