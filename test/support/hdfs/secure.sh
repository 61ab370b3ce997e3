# shellcheck shell=bash
# A cluster with Kerberos and TLS: a key distribution centre of its own, and a certificate authority of its
# own. All of it lies in the cluster's directory and is gone with it.

realm=PARS.LAB
# One principal for the daemons and the administrator; another for their web servers. The first one's host is
# no address of an interface: from one that is, every DataNode would connect (see source_address.c).
principal=root/127.0.1.1@$realm
web_principal=HTTP/localhost@$realm
secret=changeit

kdc_port() { echo $((base + 7)); }

# What Kerberos' own tools, curl and the JVMs find by.
secure_environment() {
    [[ -n $secure ]] || return 0
    export KRB5_CONFIG=$dir/secure/krb5.conf KRB5_KDC_PROFILE=$dir/secure/kdc.conf
    export KRB5CCNAME=FILE:$dir/secure/ticket
    java_flags+=("-Djava.security.krb5.conf=$KRB5_CONFIG")
    curl_flags=(--negotiate -u : --cacert "$dir/secure/ca.pem")
}

prepare_security() {
    need krb5-kdc:krb5kdc krb5-admin-server:kadmin.local krb5-user:kinit openssl:openssl \
        libkrb5-dev:krb5-config
    mkdir -m 700 "$dir/secure"
    write_krb5_conf "$dir/secure"
    secure_environment
    {
        kdb5_util create -s -P "$secret" -r "$realm"
        kadmin.local -q "addprinc -randkey $principal"
        kadmin.local -q "addprinc -randkey $web_principal"
        kadmin.local -q "ktadd -k $dir/secure/keytab $principal $web_principal"
    } >"$dir/log/kdc-setup" 2>&1 || die "no realm was made: $(tail -n 3 "$dir/log/kdc-setup")"
    head -c 32 /dev/urandom | base64 >"$dir/secure/cookie-secret"
    make_certificates "$dir/secure"
}

write_krb5_conf() {
    cat >"$1/krb5.conf" <<END
[libdefaults]
    default_realm = $realm
    dns_lookup_realm = false
    dns_lookup_kdc = false
    dns_canonicalize_hostname = false
    udp_preference_limit = 1
[realms]
    $realm = {
        kdc = 127.0.0.1:$(kdc_port)
    }
[domain_realm]
    localhost = $realm
END
    cat >"$1/kdc.conf" <<END
[kdcdefaults]
    kdc_listen = 127.0.0.1:$(kdc_port)
    kdc_tcp_listen = 127.0.0.1:$(kdc_port)
[realms]
    $realm = {
        database_name = $1/principals
        key_stash_file = $1/stash
        acl_file = $1/acl
    }
END
}

make_certificates() {
    local names i
    names=DNS:localhost,IP:127.0.0.1
    for ((i = 1; i <= datanodes; i++)); do names+=,IP:$(dn_address "$i"); done
    {
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=Pars laboratory' \
            -keyout "$1/ca.key" -out "$1/ca.pem"
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$1/server.key" -out "$1/server.csr"
        openssl x509 -req -days 30 -in "$1/server.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" \
            -CAcreateserial -out "$1/server.pem" \
            -extfile <(echo "subjectAltName=$names")
        openssl pkcs12 -export -in "$1/server.pem" -inkey "$1/server.key" -certfile "$1/ca.pem" \
            -passout "pass:$secret" -out "$1/server.p12"
        keytool -importcert -noprompt -alias ca -file "$1/ca.pem" -keystore "$1/trust.p12" \
            -storetype PKCS12 -storepass "$secret"
    } >"$dir/log/certificates" 2>&1 || die "no certificates were made: $(tail -n 3 "$dir/log/certificates")"
}

# The first process of the cluster to start.
launch_kdc() { launch kdc krb5kdc -n -P "$dir/run/kdc.pid"; }

has_ticket() { kinit -k -t "$dir/secure/keytab" "$principal" 2>>"$dir/log/kinit"; }

core_security() {
    cat <<END
hadoop.security.authentication=kerberos
hadoop.security.authorization=true
hadoop.http.filter.initializers=org.apache.hadoop.security.AuthenticationFilterInitializer
hadoop.http.authentication.type=kerberos
hadoop.http.authentication.kerberos.principal=$web_principal
hadoop.http.authentication.kerberos.keytab=$dir/secure/keytab
hadoop.http.authentication.signature.secret.file=$dir/secure/cookie-secret
END
}

# Without privileged ports a DataNode wants its transfers authenticated and HTTPS only.
hdfs_security() {
    local daemon i
    for daemon in namenode datanode; do
        echo "dfs.$daemon.kerberos.principal=$principal"
        echo "dfs.$daemon.keytab.file=$dir/secure/keytab"
    done
    cat <<END
dfs.web.authentication.kerberos.principal=$web_principal
dfs.web.authentication.kerberos.keytab=$dir/secure/keytab
dfs.block.access.token.enable=true
dfs.data.transfer.protection=authentication
dfs.http.policy=HTTPS_ONLY
END
    for i in $(namenodes); do
        echo "dfs.namenode.https-address${ha:+.pars.nn$i}=127.0.0.1:$(nn_http_port "$i")"
    done
}

# write_tls CONF
write_tls() {
    local side=ssl.server
    server_stores() {
        echo "$side.keystore.location=$dir/secure/server.p12"
        printf '%s\n' "$side.keystore.password=$secret" "$side.keystore.keypassword=$secret" \
            "$side.keystore.type=PKCS12"
        trust_store
    }
    trust_store() {
        printf '%s\n' "$side.truststore.location=$dir/secure/trust.p12" \
            "$side.truststore.password=$secret" "$side.truststore.type=PKCS12"
    }
    as_xml <(server_stores) >"$1/ssl-server.xml"
    side=ssl.client
    as_xml <(trust_store) >"$1/ssl-client.xml"
}

# A delegation token, as the client's token file holds it.
delegation_token() {
    web_get "$(nn_web "$(active_nn)")/webhdfs/v1/?op=GETDELEGATIONTOKEN&renewer=root" |
        sed -n 's/.*"urlString":"\([^"]*\)".*/\1/p'
}
