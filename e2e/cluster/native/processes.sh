# Sourced by driver.sh: background processes, known by name. Only what was started here is ever stopped, by its pid.

PROCESSES=(etcd kube-apiserver containerd buildkitd kube-controller-manager kube-scheduler kubelet kube-proxy coredns)

# start NAME COMMAND...: in a session of its own, so that Ctrl-C does not reach it.
start() {
    local name=$1
    shift
    setsid "$@" >"$LOG/$name.log" 2>&1 </dev/null &
    echo $! >"$RUN/$name.pid"
}

# is_running NAME. A pid alone is no proof: after a reboot it may be another's. Ours have $STATE in their arguments.
is_running() {
    local pid
    pid=$(cat "$RUN/$1.pid" 2>/dev/null) && [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") == *"$STATE"/* ]]
}

# until_ready NAME SECONDS COMMAND...: waits for the command to succeed; a process that ended is reported at once.
until_ready() {
    local name=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        sleep 0.2
        if ! is_running "$name" || ((SECONDS >= deadline)); then
            tail -n 30 "$LOG/$name.log" >&2
            die "$name did not get ready (its log is $LOG/$name.log)"
        fi
    done
}

# stop NAME [SIGNAL]: TERM or that one, and KILL after 10 s
stop() {
    local pid tenths=100
    is_running "$1" || return 0
    pid=$(cat "$RUN/$1.pid")
    kill "-${2:-TERM}" "$pid" || true
    while is_running "$1" && ((tenths--)); do
        sleep 0.1
    done
    ! is_running "$1" || kill -9 "$pid" || true
}
