# Sourced by `cluster`: what both drivers use.

say() { printf '%4ds  %s\n' "$SECONDS" "$*"; }

die() {
    say "$*" >&2
    exit 1
}

driver() {
    if [ -n "${CLUSTER:-}" ]; then
        echo "$CLUSTER"
    elif command -v kind >/dev/null && docker info >/dev/null 2>&1; then
        echo kind
    else
        echo native
    fi
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || die "gave up waiting for $what"
        sleep 0.2
    done
}

# quietly LOG COMMAND...: its output goes to the log, and its end to the terminal when it fails.
quietly() {
    local log=$1
    shift
    mkdir -p "$(dirname "$log")"
    "$@" >"$log" 2>&1 || {
        tail -n 30 "$log" >&2
        die "failed: $* (all of its output is in $log)"
    }
}
