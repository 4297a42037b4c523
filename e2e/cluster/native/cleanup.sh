# Sourced by driver.sh: the way down. Each step copes with what is not there, so that half a cluster can be taken down too.

take_down() {
    [ -d "$RUN" ] || return 0
    local name ours=
    [ ! -e "$RUN/network-is-ours" ] || ours=1
    for name in kubelet kube-controller-manager kube-scheduler coredns; do stop "$name"; done
    ! is_running containerd || end_containers
    for name in kube-proxy kube-apiserver etcd buildkitd containerd; do stop "$name"; done
    unmount_all
    [ -z "$ours" ] || remove_network # else they are another cluster's
    find /var/log/containers -lname "$LOG/pods/*" -delete 2>/dev/null || true
    rm -rf "$RUN" "$LOG/pods" "$KUBECONFIG"
    nothing_is_left "$ours"
}

purge() { rm -rf "${STATE:?}"/{bin,build,buildkit,containerd,go-build,log}; }

# Containers outlive kubelet and containerd: they are the children of shims of their own, which end with their last task.
end_containers() {
    local id
    for id in $(ctr tasks list --quiet); do
        ctr tasks kill --signal SIGKILL "$id" >/dev/null 2>&1 || true # it may have ended just now
    done
    for id in $(ctr containers list --quiet); do
        ctr tasks rm --force "$id" >/dev/null 2>&1 || true # a container without a task
        ctr containers rm "$id" >/dev/null
    done
}

unmount_all() {
    local mount
    while read -r mount; do
        umount --lazy "$mount"
    done < <(awk -v state="$STATE/" 'index($2, state) == 1 {print $2}' /proc/mounts | sort -r)
}

remove_network() {
    local file link save
    for file in /var/run/netns/cni-*; do
        [ ! -e "$file" ] || { umount --lazy "$file" 2>/dev/null || true; rm -f "$file"; }
    done
    for link in cni0 kube0; do
        ! ip link show "$link" >/dev/null 2>&1 || ip link delete "$link"
    done
    for save in iptables-save ip6tables-save; do # every rule and chain of kube-proxy, kubelet and CNI is named so
        "$save" | grep -vE 'KUBE-|CNI-' | "${save/save/restore}"
    done
    find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null || true
    [ ! -f "$RUN/ip_forward.before" ] || sysctl -qw "net.ipv4.ip_forward=$(cat "$RUN/ip_forward.before")"
}

# nothing_is_left OURS: links and rules count when they were this cluster's
nothing_is_left() {
    local ours=$1 left
    left=$(
        pgrep --list-full --full -- "$RUN/" || true
        awk -v state="$STATE/" 'index($2, state) == 1' /proc/mounts
        [ -z "$ours" ] || iptables-save | grep -E 'KUBE-|CNI-' || true
        [ -z "$ours" ] || ip -oneline link | grep -E ' (cni0|kube0|veth)' || true
    )
    [ -z "$left" ] || die "the cluster is down, but left: $left"
}
