# shellcheck shell=bash
# The cluster's processes. Each has a name (nn1, dn3), a log and a file with its process id; all live in the
# PID namespace of the cluster's first process, so that the kernel ends them with it.

# launch NAME COMMAND...: in the background, its log appended.
launch() {
    local name=$1
    shift
    # Not the id of the process that was killed.
    rm -f "$dir/run/$name"
    # The id outside this namespace, which $$ does not know. The shell becomes the daemon.
    # shellcheck disable=SC2016
    setsid bash -c 'read -r pid _ </proc/self/stat; echo "$pid" >"$0"; exec "$@"' "$dir/run/$name" "$@" \
        </dev/null >>"$dir/log/$name" 2>&1 &
    until_true 30 "$name to begin" test -s "$dir/run/$name"
}

# What a daemon's web server unpacks goes with the cluster.
own_tmp() {
    mkdir -p "$dir/tmp"
    echo "-Djava.io.tmpdir=$dir/tmp"
}

launch_nn() {
    launch "nn$1" java "${java_flags[@]}" "$(own_tmp)" -cp "$dir/conf:$software/jars/*" "$namenode_class" \
        ${ha:+-D dfs.ha.namenode.id=nn$1}
}

launch_dn() {
    local address data=$dir/state/dn$1
    address=$(dn_address "$1")
    mkdir -p "$data"
    if [[ -n $disk ]] && ! mountpoint -q "$data"; then
        mount -t tmpfs -o "size=${disk}m,mode=700" none "$data"
    fi
    launch "dn$1" env PARS_SOURCE_ADDRESS="$address" LD_PRELOAD="$software/preload/source_address.so" \
        java "${java_flags[@]}" "$(own_tmp)" -cp "$dir/conf:$software/jars/*" "$datanode_class" \
        -D "dfs.datanode.data.dir=file://$data/data" -D "dfs.datanode.hostname=$address" \
        -D "dfs.datanode.address=$address:$(dn_transfer_port)" \
        -D "dfs.datanode.http${secure:+s}.address=$address:$(dn_http_port)" \
        -D "dfs.datanode.ipc.address=$address:$(dn_ipc_port)"
}

# Stopped processes are alive.
alive() { [[ -s $dir/run/$1 && -d /proc/$(cat "$dir/run/$1") ]]; }

launch_httpfs() {
    mkdir -p "$dir/state/httpfs"
    launch httpfs java "${java_flags[@]}" "$(own_tmp)" -Dhttpfs.home.dir="$dir/state/httpfs" \
        -Dhttpfs.config.dir="$dir/conf" \
        -Dhttpfs.log.dir="$dir/log" \
        -Dhttpfs.temp.dir="$dir/state/httpfs" -cp "$dir/conf:$software/httpfs/*" \
        org.apache.hadoop.fs.http.server.HttpFSServerWebServer
}

httpfs_answers() {
    alive httpfs || die "HttpFS ended: $(grep -E 'ERROR|FATAL|Exception' "$dir/log/httpfs" | tail -n 3)"
    web_get "http://127.0.0.1:$(httpfs_port)/webhdfs/v1/?op=GETFILESTATUS&user.name=root" | grep -q FileStatus
}

web_get() { curl -sf -m 5 "${curl_flags[@]}" "$1"; }

# A name, not an address, where Kerberos names the service by it.
nn_web() {
    local host=127.0.0.1
    [[ -z $secure ]] || host=localhost
    echo "http${secure:+s}://$host:$(nn_http_port "$1")"
}
dn_web() { echo "http${secure:+s}://$(dn_address "$1"):$(dn_http_port)"; }

# nn_bean I NAME: a bean of the NameNode's JMX.
nn_bean() { web_get "$(nn_web "$1")/jmx?qry=Hadoop:service=NameNode,name=$2"; }

nn_state() {
    alive "nn$1" || { echo down; return; }
    local state
    state=$(nn_bean "$1" NameNodeStatus | sed -n 's/.*"State" : "\(.*\)".*/\1/p')
    if [[ $state == active ]] && nn_bean "$1" FSNamesystemState | grep -q '"FSState" : "safeMode"'; then
        state='active, safe mode'
    fi
    echo "${state:-starting}"
}

active_nn() {
    local i
    for i in $(namenodes); do [[ $(nn_state "$i") != active* ]] || { echo "$i"; return; }; done
    return 1
}

# Names of the DataNodes that the active NameNode believes alive.
live_dns() {
    local i
    i=$(active_nn) || return 0
    nn_bean "$i" NameNodeInfo | sed -n 's/^ *"LiveNodes" : //p' |
        grep -o '127\.0\.1\.[0-9]*:[0-9]*\\":' | sort -u | sed 's/.*\.\([0-9]*\):.*/dn\1/' | sort -u
}

# until_true SECONDS WHAT COMMAND...
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        ((SECONDS < deadline)) || die "$what: not within the deadline; logs are in $dir/log"
        sleep 0.2
    done
}

nn_answers() {
    alive "nn$1" || die "nn$1 ended: $(grep -E 'ERROR|FATAL|Exception' "$dir/log/nn$1" | tail -n 3)"
    [[ $(nn_state "$1") =~ ^(active|standby) ]]
}
# One that has just started is in safe mode until it knows of the blocks, and refuses to become active.
nn_ready() {
    [[ $(nn_state "$1") == standby ]] &&
        ! nn_bean "$1" FSNamesystemState | grep -q '"FSState" : "safeMode"'
}
nn_works() { [[ $(nn_state "$1") == active ]]; }
dns_live() { (($(live_dns | wc -l) >= $1)); }

# The NameNode believes a killed DataNode alive for a while, so a new process counts only when it says itself
# that it has registered with the active NameNode.
dn_live() {
    local active
    active=$(active_nn) || return 1
    web_get "$(dn_web "$1")/jmx?qry=Hadoop:service=DataNode,name=DataNodeInfo" |
        tr '}' '\n' | grep ":$(nn_rpc_port "$active")\\\\\"" | grep -q RUNNING && live_dns | grep -qx "dn$1"
}
