# shellcheck shell=bash
# A cluster's settings. Ports count up from one base; NameNodes listen on 127.0.0.1, DataNode i on 127.0.1.i.

nn_http_port() { echo $((base + 2 * ($1 - 1))); }
nn_rpc_port() { echo $((base + 2 * ($1 - 1) + 1)); }
dn_transfer_port() { echo $((base + 4)); }
dn_http_port() { echo $((base + 5)); }
dn_ipc_port() { echo $((base + 6)); }
httpfs_port() { echo $((base + 8)); }
dn_address() { echo "127.0.1.$1"; }
ports_used=9

# NameNode numbers of this cluster.
namenodes() { if [[ -n $ha ]]; then echo 1 2; else echo 1; fi; }

# write_conf CONF STATE: settings into CONF; what daemons keep lies in STATE.
write_conf() {
    mkdir -p "$1"
    echo "fs.defaultFS=$(default_fs)" >"$1/core"
    default_settings >"$1/hdfs"
    namespace_settings "$2" >>"$1/hdfs"
    rack_settings "$1" >>"$1/core"
    [[ -z $zones ]] || echo "hadoop.security.key.provider.path=jceks://file$2/keys.jceks" >>"$1/core"
    if [[ -n $secure ]]; then
        core_security >>"$1/core"
        hdfs_security >>"$1/hdfs"
        write_tls "$1"
    fi
    [[ -z $httpfs ]] || write_httpfs "$1" >>"$1/core"
    # Of two settings the later one wins, so what the caller asks for comes last.
    as_xml "$1/core" <(caller_settings) >"$1/core-site.xml"
    as_xml "$1/hdfs" <(caller_settings) >"$1/hdfs-site.xml"
    rm "$1/core" "$1/hdfs"
    cat >"$1/log4j.properties" <<'END'
log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{1}: %m%n
log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR
END
}

default_fs() { if [[ -n $ha ]]; then echo hdfs://pars; else echo "hdfs://127.0.0.1:$(nn_rpc_port 1)"; fi; }

caller_settings() { ((${#settings[@]} == 0)) || printf '%s\n' "${settings[@]}"; }

namespace_settings() {
    local i ha_classes=org.apache.hadoop.hdfs.server.namenode.ha
    if [[ -z $ha ]]; then
        cat <<END
dfs.namenode.name.dir=file://$1/nn1
dfs.namenode.rpc-address=127.0.0.1:$(nn_rpc_port 1)
dfs.namenode.http-address=127.0.0.1:$(nn_http_port 1)
END
        return
    fi
    cat <<END
dfs.nameservices=pars
dfs.ha.namenodes.pars=nn1,nn2
dfs.client.failover.proxy.provider.pars=$ha_classes.ConfiguredFailoverProxyProvider
dfs.namenode.shared.edits.dir=file://$1/edits
dfs.ha.fencing.methods=shell(/bin/true)
dfs.ha.tail-edits.period=1s
dfs.ha.log-roll.period=5s
END
    for i in 1 2; do
        cat <<END
dfs.namenode.name.dir.pars.nn$i=file://$1/nn$i
dfs.namenode.rpc-address.pars.nn$i=127.0.0.1:$(nn_rpc_port $i)
dfs.namenode.http-address.pars.nn$i=127.0.0.1:$(nn_http_port $i)
END
    done
}

# What makes a cluster of one machine quick: a DataNode is dead 12 s after its last heartbeat, missing copies
# are made again within a second, blocks and volumes may be small.
default_settings() {
    cat <<END
dfs.replication=$((datanodes < 3 ? datanodes : 3))
dfs.heartbeat.interval=1
dfs.namenode.heartbeat.recheck-interval=1000
dfs.namenode.redundancy.interval.seconds=1s
dfs.namenode.reconstruction.pending.timeout-sec=5
dfs.namenode.safemode.extension=0
dfs.namenode.fs-limits.min-block-size=4096
dfs.namenode.datanode.registration.ip-hostname-check=false
dfs.namenode.ec.system.default.policy=${policies[0]:-RS-3-2-1024k}
dfs.datanode.round-robin-volume-choosing-policy.additional-available-space=0
hadoop.http.staticuser.user=root
END
}

# write_httpfs CONF: settings of the gateway into CONF, and to stdout those of the NameNodes that let it act
# for its users.
write_httpfs() {
    as_xml <(printf '%s\n' httpfs.http.hostname=127.0.0.1 "httpfs.http.port=$(httpfs_port)" \
        "httpfs.hadoop.config.dir=$1") >"$1/httpfs-site.xml"
    head -c 32 /dev/urandom | base64 >"$1/httpfs-signature.secret"
    printf '%s\n' 'hadoop.proxyuser.root.hosts=*' 'hadoop.proxyuser.root.groups=*'
}

rack_settings() {
    ((racks)) || return 0
    local i
    for ((i = 1; i <= datanodes; i++)); do
        echo "$(dn_address "$i") /rack$(((i - 1) % racks + 1))"
    done >"$1/racks"
    echo net.topology.node.switch.mapping.impl=org.apache.hadoop.net.TableMapping
    echo "net.topology.table.file.name=$1/racks"
}

# Lines of key=value, as Hadoop reads them.
as_xml() {
    echo '<configuration>'
    sed -n -e 's/&/\&amp;/g; s/</\&lt;/g' \
        -e 's|^\([^=]\{1,\}\)=\(.*\)|<property><name>\1</name><value>\2</value></property>|p' "$@"
    echo '</configuration>'
}
