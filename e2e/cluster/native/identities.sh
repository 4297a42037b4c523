# Sourced by driver.sh: a certificate authority, and a certificate and kubeconfig for each who talks to the API server.

make_identities() {
    openssl req -x509 "${NEW_KEY[@]}" -days 30 -subj /CN=cluster-ca -keyout "$PKI/ca.key" -out "$PKI/ca.crt" 2>/dev/null
    openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/service-accounts.key"
    certificate kube-apiserver /CN=kube-apiserver "IP:$NODE_IP,IP:$API_SERVICE_IP,DNS:kubernetes.default.svc"
    certificate kubelet "/O=system:nodes/CN=system:node:$NODE" "IP:$NODE_IP,DNS:$NODE"
    certificate admin /O=system:masters/CN=admin
    certificate kube-controller-manager /CN=system:kube-controller-manager
    certificate kube-scheduler /CN=system:kube-scheduler
    certificate kube-proxy /CN=system:kube-proxy
    certificate coredns /CN=coredns
    local who
    for who in kubelet kube-controller-manager kube-scheduler kube-proxy coredns; do
        kubeconfig "$who" >"$PKI/$who.kubeconfig"
    done
    kubeconfig admin >"$KUBECONFIG"
}

NEW_KEY=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)

# certificate NAME SUBJECT [ADDRESSES]
certificate() {
    local usage="extendedKeyUsage=serverAuth,clientAuth"
    openssl req "${NEW_KEY[@]}" -subj "$2" -keyout "$PKI/$1.key" -out "$PKI/$1.csr" 2>/dev/null
    openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days 30 \
        -extfile <(printf '%s\n' "$usage" "${3:+subjectAltName=$3}") -out "$PKI/$1.crt" 2>/dev/null
}

# kubeconfig NAME: with the certificates inside, so that the file can be taken elsewhere
kubeconfig() {
    cat <<YAML
apiVersion: v1
kind: Config
current-context: native
contexts: [{name: native, context: {cluster: native, user: $1}}]
clusters: [{name: native, cluster: {server: $API, certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$PKI/$1.crt"), client-key-data: $(base64 -w0 "$PKI/$1.key")}}]
YAML
}
