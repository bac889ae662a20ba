//! Parses the reply of `INFO`, and reports settings with which a server can lose sessions.

/// Returns the value of a field in the reply of `INFO`.
pub(in crate::redis) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim_end)
}

/// Returns a recommendation for each setting or problem that can make a server lose sessions. `text` is the reply of
/// `INFO`. `in_cluster` means that Curfew uses the server as a part of a cluster.
pub(in crate::redis) fn recommendations(text: &str, in_cluster: bool) -> Vec<String> {
    let field = |name| field(text, name);
    let mut recommendations = Vec::new();
    let version = field("valkey_version")
        .or(field("redis_version"))
        .unwrap_or("");
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < 7) {
        recommendations.push(format!(
            "version {version:?} has no PEXPIRETIME, which Curfew needs: upgrade the server to 7.0 or newer"
        ));
    }
    match field("maxmemory_policy") {
        None | Some("noeviction") => {}
        Some(policy) => recommendations.push(format!(
            "maxmemory-policy is {policy}: the eviction of a key ends its session; set it to noeviction"
        )),
    }
    if field("aof_enabled") == Some("0") {
        recommendations.push(
            "appendonly is off: a restart loses all changes since the last snapshot, including session \
             ends; set appendonly yes"
                .to_owned(),
        );
    }
    if field("aof_last_write_status") == Some("err")
        || field("rdb_last_bgsave_status") == Some("err")
    {
        recommendations.push("the server can't write to its disk; see its log".to_owned());
    }
    if field("cluster_enabled") == Some("1") && !in_cluster {
        recommendations.push(
            "the server is a node of a cluster: use redis+cluster:// in store.url".to_owned(),
        );
    }
    let replica_count = field("connected_slaves").and_then(|number| number.parse::<u32>().ok());
    // The field `min_slaves_good_slaves` exists only if min-replicas-to-write is set.
    if replica_count.is_some_and(|count| count > 0) && field("min_slaves_good_slaves").is_none() {
        recommendations.push(
            "the server has replicas but no min-replicas-to-write: a primary that is cut off from its replicas still \
             accepts writes, and a fail-over loses these writes; set min-replicas-to-write 1"
                .to_owned(),
        );
    }
    recommendations
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD_INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nmaxmemory_policy:noeviction\r\n\
         aof_enabled:1\r\naof_last_write_status:ok\r\nrdb_last_bgsave_status:ok\r\n\
         connected_slaves:1\r\nmin_slaves_good_slaves:1\r\n";

    #[test]
    fn a_good_server_needs_no_recommendations() {
        assert_eq!(field(GOOD_INFO, "run_id"), Some("abc"));
        assert_eq!(recommendations(GOOD_INFO, false), Vec::<String>::new());
    }

    #[test]
    fn reports_each_dangerous_setting() {
        for (from, to, word) in [
            ("redis_version:7.0.15", "redis_version:6.2.14", "upgrade"),
            ("redis_version:7.0.15", "x:1", "upgrade"),
            ("noeviction", "allkeys-lru", "set it to noeviction"),
            ("aof_enabled:1", "aof_enabled:0", "set appendonly yes"),
            (
                "aof_enabled:1",
                "aof_enabled:1\r\ncluster_enabled:1",
                "redis+cluster://",
            ),
            ("write_status:ok", "write_status:err", "disk"),
            (
                "min_slaves_good_slaves:1\r\n",
                "",
                "set min-replicas-to-write 1",
            ),
        ] {
            let recommendations = recommendations(&GOOD_INFO.replace(from, to), false);
            assert_eq!(recommendations.len(), 1, "{recommendations:?}");
            assert!(recommendations[0].contains(word), "{recommendations:?}");
        }
        let valkey = GOOD_INFO.replace(
            "redis_version:7.0.15",
            "redis_version:7.2.4\r\nvalkey_version:9.1.2",
        );
        assert_eq!(recommendations(&valkey, false), Vec::<String>::new());
    }
}
