# shellcheck shell=bash
# What a cluster is made of, prepared once a machine in the lab's cache: jars from Maven Central, a formatted
# name directory, the preload.

hadoop_version=3.5.0
software=$lab_cache/hdfs-$hadoop_version

# A server JVM that is lean rather than fast: 40 % less CPU to start, 150 to 180 MB each.
java_flags=(-Xmx"${PARS_HDFS_HEAP:-128m}" -Xss512k -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData
    -Djava.net.preferIPv4Stack=true --add-opens=java.base/java.lang=ALL-UNNAMED
    --add-exports=java.base/sun.net.dns=ALL-UNNAMED --add-exports=java.base/sun.net.util=ALL-UNNAMED)
namenode_class=org.apache.hadoop.hdfs.server.namenode.NameNode
datanode_class=org.apache.hadoop.hdfs.server.datanode.DataNode

prepare_software() {
    need default-jre-headless:java curl:curl
    once "$software/jars" fetch_jars
    once "$software/preload" compile_preload
    [[ -z $httpfs ]] || once "$software/httpfs" fetch_httpfs
    once "$software/name$([[ -z $ha ]] || echo -ha)" format_name
}

fetch_jars() {
    need maven:mvn
    say "fetching HDFS $hadoop_version from Maven Central (105 MB, once)"
    mvn -B -q -f "$parts/pom.xml" dependency:copy-dependencies -DoutputDirectory="$1" >&2
}

# Its release that lies there: an HttpFS of 3.4 serves an HDFS of 3.5.
fetch_httpfs() {
    need maven:mvn
    say 'fetching HttpFS from Maven Central (60 MB, once)'
    mvn -B -q -f "$parts/httpfs.xml" dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$1" >&2
}

compile_preload() {
    need gcc:cc
    cc -O2 -shared -fPIC -o "$1/source_address.so" "$parts/source_address.c" -ldl
}

# Formatting takes a JVM of its own, so every cluster gets a copy of one formatted directory.
format_name() {
    say 'formatting a name directory (once)'
    local conf=$1/conf secure='' httpfs='' zones=''
    mkdir -p "$conf"
    write_conf "$conf" "$1"
    hdfs_java "$conf" "$namenode_class" ${ha:+-D dfs.ha.namenode.id=nn1} -format -nonInteractive \
        >"$1/log" 2>&1 ||
        die "the name directory was not formatted: $(tail -n 5 "$1/log")"
    rm -rf "$conf"
}

# A JVM that lives for one command: more heap; and with PARS_HDFS_PLAIN_CLIENT, for who measures it, as the
# command `hdfs` would start it.
client_flags() {
    local flag flags=()
    for flag in "${java_flags[@]}"; do
        [[ $flag != -X* ]] || { [[ -z ${PARS_HDFS_PLAIN_CLIENT:-} ]] || continue; }
        flags+=("${flag/#-Xmx*/-Xmx256m}")
    done
    java_flags=("${flags[@]}")
}

# hdfs_java CONF CLASS ARGUMENTS...
hdfs_java() {
    local conf=$1
    shift
    java "${java_flags[@]}" -cp "$conf:$software/jars/*" "$@"
}
